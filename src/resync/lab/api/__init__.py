"""The lab's Kubernetes API: the official client, kubectl and operators take it for a real one.

Everything else in the lab is a client that knows only a kubeconfig, so the same lab runs against a real kube-
apiserver. Three ideas keep this server small:

- *One event loop, synchronous commits.* A write is checked, stored, logged and handed to the watchers without
  an `await` in between. List snapshots, optimistic concurrency and "list, then watch from there" need no
  lock.
- *A kind is one YAML file.* Built-in kinds (`kinds/`) are described in the very form of a
  CustomResourceDefinition, with a few `x-resync-*` words for what only built-ins do. The same schema code
  defaults and checks both.
- *HTTP is a thin shell.* `server` translates requests into calls of `verbs.Verbs`, which knows no HTTP and is
  handed its clock.

Reading order: `resources` (what a kind is), `store` (versions, log, watchers), `verbs` (what a write means),
`server`.
"""
