"""The controllers a bare API server is without: deployments, replica and stateful sets, namespaces, garbage.

Each is a client that knows only a kubeconfig, so the same ones serve the lab's API and a real kube-apiserver
without kube-controller-manager. What they share is one watch per kind (`watching`) and the way they work
through a queue (`working`): a change only says *where* to look, every pass reads the present state and does
what it asks for. So a pass may be repeated, skipped or interrupted, and nothing is remembered.

Reading order: `keeping` (what controllers of pods share), `replicasets`, `statefulsets`, `rollouts` (pure:
the sizes of a rolling update), `deployments`, `garbage`, `namespaces`.
"""

from resync.lab.controllers.running import run_controllers

__all__ = ["run_controllers"]
