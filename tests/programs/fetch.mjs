// What Node's own fetch does, told nothing of proxies or certificates.
const site = "https://secure.example:8443";
const body = new Uint8Array(13 << 20);
const statuses = [];
for (const [path, options] of [
  ["/public/a", {}],
  ["/secret", {}],
  ["/public/up", { method: "POST", body }],
  ["/secret", { method: "POST", body }],
]) {
  const answer = await fetch(site + path, options);
  await answer.arrayBuffer();
  statuses.push(answer.status);
}
console.log("fetch", ...statuses);
