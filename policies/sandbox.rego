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

# How far each endpoint came, for `sandgate policy explain`.
stages := {"host": by_host, "port": by_port, "caller": by_caller}

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

# Judges one request on a connection that `decision` admitted. Each item of it must be allowed by a
# rule of an endpoint, and none may be denied by one.
#
# input is {endpoints, covering, head, path, query, ambiguous, items}: endpoints are those of the
# connection that the path leads to, which allow; covering are these and the less specific ones, which
# all deny; head is the request's head as a list of one item, or empty for a message; path is canonical; query maps a key to its values, and is empty and ambiguous where
# servers could disagree on it. An item is one of
#   {kind: "http", method}              a REST request, a WebSocket's upgrade (GET), or a message on it
#                                       (WEBSOCKET_TEXT, WEBSOCKET_BINARY)
#   {kind: "operation", type, name, fields}   a GraphQL operation; name may be null
#   {kind: "call", method, tool}        a JSON-RPC or MCP call; tool is params.name or null
#   {kind: "housekeeping"}              what a protocol needs and no rule speaks of
# A rule has the same kinds. What it leaves out is anything; texts are regular expressions, but for
# method of "http" and type.
default request := {"allow": false, "item": 0}

request := {"allow": false, "endpoint": hit[0], "rule": hit[1]} if {
	hit := min(denials)
} else := {"allow": false, "item": min(missing)} if {
	count(missing) > 0
} else := {"allow": true, "endpoint": hit[0], "rule": hit[1]} if {
	hit := min(grants)
} else := {"allow": true} if {
	count(input.items) > 0
}

denials contains [endpoint, number] if {
	some endpoint in input.covering
	some number, rule in data.policy.endpoints[endpoint].denies
	some item in denied_items
	differs(item, rule, "deny") == ""
}

# The head follows the items. Where a request is an item itself, it need not be asked about twice.
denied_items := input.items if {
	some item in input.items
	item.kind == "http"
} else := array.concat(input.items, input.head)

grants contains [endpoint, number] if some [endpoint, number, _] in granted

granted contains [endpoint, number, position] if {
	some endpoint in input.endpoints
	some number, rule in data.policy.endpoints[endpoint].allows
	some position, item in input.items
	differs(item, rule, "allow") == ""
}

settled contains position if some [_, _, position] in granted

settled contains position if {
	some position, item in input.items
	item.kind == "housekeeping"
}

missing contains position if {
	some position, _ in input.items
	not position in settled
}

# Every rule about every item, for `sandgate policy explain`.
considered := array.concat(
	[{"denies": true, "endpoint": endpoint, "rule": number, "item": position, "differs": differs(item, rule, "deny")} |
		some endpoint in input.covering
		some number, rule in data.policy.endpoints[endpoint].denies
		some position, item in denied_items
	],
	[{"denies": false, "endpoint": endpoint, "rule": number, "item": position, "differs": differs(item, rule, "allow")} |
		some endpoint in input.endpoints
		some number, rule in data.policy.endpoints[endpoint].allows
		some position, item in input.items
	],
)

# The first key of a rule that an item does not match; "" if the rule matches. Where several values
# meet one key, an allow wants all of them to match, and a deny one.
differs(item, rule, side) := "kind" if {
	item.kind != rule.kind
} else := "method" if {
	rule.method
	not method_fits(item, rule)
} else := "path" if {
	rule.path
	not regex.match(rule.path, input.path)
} else := "operation_type" if {
	rule.type
	rule.type != item.type
} else := "operation_name" if {
	rule.name
	not fits(item.name, [rule.name])
} else := "tool" if {
	rule.tool
	not fits(item.tool, rule.tool)
} else := "query" if {
	rule.query
	not query_fits(rule.query, side)
} else := "fields" if {
	rule.fields
	not fields_fit(item.fields, rule.fields, side)
} else := ""

method_fits(item, rule) if {
	item.kind == "http"
	item.method == rule.method
}

# HEAD is GET without the body (RFC 9110, 9.3.2).
method_fits(item, rule) if {
	item.kind == "http"
	item.method == "HEAD"
	rule.method == "GET"
}

method_fits(item, rule) if {
	item.kind == "call"
	regex.match(rule.method, item.method)
}

fits(text, globs) if {
	is_string(text)
	some glob in globs
	regex.match(glob, text)
}

query_fits(keys, "allow") if {
	not input.ambiguous
	every entry in keys {
		count(input.query[entry.key]) > 0
		every value in input.query[entry.key] {
			fits(value, entry.globs)
		}
	}
}

query_fits(keys, "deny") if {
	every entry in keys {
		some value in input.query[entry.key]
		fits(value, entry.globs)
	}
}

query_fits(_, "deny") if input.ambiguous

fields_fit(fields, globs, "allow") if {
	every field in fields {
		fits(field, globs)
	}
}

fields_fit(fields, globs, "deny") if {
	some field in fields
	fits(field, globs)
}
