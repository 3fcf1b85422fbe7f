# Judges one connection: who (input.paths) may go where (input.host, input.port).
#
# data.policy is one policy file as src/policy/engine.rs lays it out; an endpoint is a number:
#   endpoints   number -> {policy, ports}
#   named       host -> numbers              hosts without a wildcard, and addresses
#   children    domain -> numbers            `*.domain`
#   below       domain -> numbers            `**.domain`
#   wildcards   [{regex, endpoint}]          hosts with wildcards elsewhere
#   anywhere    numbers                      endpoints that allow addresses instead of a host
#   binaries    policy -> {exact, globs}     exact is a set; globs are regular expressions
#   middlewares [{name, include, exclude}]   each side {named, children, below, wildcards, anywhere}
#
# input is {host, is_name, parents, port, caller, paths, exact}: parents are the domains that a name
# lies in, nearest first; paths are those of the executable and its ancestors, exact the same as a
# merged-usr system spells them; caller is "known", "unknown", "client" (of the SSH server, by a forward)
# or, where identity is not asked for, "anyone". A command line is no part of it and never grants.
package sandgate

import rego.v1

# Default deny. Whatever comes nearest names the policy to look at.
default decision := {"allow": false, "stage": "host"}

decision := {
	"allow": true,
	"policy": first(by_caller),
	"endpoints": by_caller,
	"middlewares": middlewares,
} if {
	count(by_caller) > 0
} else := {"allow": false, "stage": "caller", "policy": first(by_port), "endpoints": by_port} if {
	count(by_port) > 0
} else := {"allow": false, "stage": "port", "policy": first(by_host), "endpoints": by_host} if {
	count(by_host) > 0
}

by_host contains endpoint if some endpoint in data.policy.named[input.host]

by_host contains endpoint if some endpoint in data.policy.children[input.parents[0]]

by_host contains endpoint if {
	some parent in input.parents
	some endpoint in data.policy.below[parent]
}

by_host contains wildcard.endpoint if {
	input.is_name
	some wildcard in data.policy.wildcards
	regex.match(wildcard.regex, input.host)
}

# A name that ends in the root's dot is another name to a TLS certificate: it matches nothing.
by_host contains endpoint if {
	not endswith(input.host, ".")
	some endpoint in data.policy.anywhere
}

by_port contains endpoint if {
	some endpoint in by_host
	input.port in data.policy.endpoints[endpoint].ports
}

by_caller contains endpoint if {
	some endpoint in by_port
	runs_for(data.policy.binaries[data.policy.endpoints[endpoint].policy])
}

runs_for(binaries) if {
	input.caller == "known"
	some path in input.exact
	path in binaries.exact
}

runs_for(binaries) if {
	input.caller == "known"
	some glob in binaries.globs
	some path in input.paths
	regex.match(glob, path)
}

# No program's path reads like this, and no glob is asked: a forward is allowed by name or not at all.
runs_for(binaries) if {
	input.caller == "client"
	"ssh-forward" in binaries.exact
}

runs_for(binaries) if {
	input.caller == "anyone"
	count(binaries.exact) + count(binaries.globs) > 0
}

middlewares contains middleware.name if {
	some middleware in data.policy.middlewares
	covers(middleware.include)
	not covers(middleware.exclude)
}

covers(hosts) if input.host in hosts.named

covers(hosts) if input.parents[0] in hosts.children

covers(hosts) if {
	some parent in input.parents
	parent in hosts.below
}

covers(hosts) if hosts.anywhere

covers(hosts) if {
	input.is_name
	some regex_ in hosts.wildcards
	regex.match(regex_, input.host)
}

first(endpoints) := min({data.policy.endpoints[endpoint].policy | some endpoint in endpoints})
