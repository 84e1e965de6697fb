"""`python -m resync.observer`."""

import logging
import sys
from pathlib import Path

import click

from resync.cluster.errors import KubeconfigError
from resync.kits import programs
from resync.kits.clocks import SystemClock
from resync.observer.absences import Allowances
from resync.observer.errors import ObserverError
from resync.observer.observing import Observer
from resync.observer.settings import Identity, Settings, parse_places

WRONG_ARGUMENT = 2


@click.command()
@click.option("--http-port", default=9100, show_default=True, help="Where /health and /metrics are.")
@click.option(
    "--kubeconfig", envvar="KUBECONFIG", help="The cluster to watch; none: the pod's own credentials."
)
@click.option("--namespace", help="Where the pods are; default: the observer's own namespace.")
@click.option("--gateway-selector", default="app=gateway-plugins", show_default=True)
@click.option("--engine-selector", default="model.aibrix.ai/name", show_default=True)
@click.option("--gateway-port", default=8080, show_default=True)
@click.option("--static-gateways", default="", help="name=ip[:port],...: no Kubernetes API is asked.")
@click.option("--static-engines", default="", help="name=ip[:port],...: no Kubernetes API is asked.")
@click.option("--cut-every-s", default=0.25, show_default=True)
@click.option("--ask-timeout-s", default=2.0, show_default=True)
@click.option("--control-phase-timeout-s", default=60.0, show_default=True)
@click.option(
    "--first-subscription-s", default=10.0, show_default=True, help="Allowed before a pod is missing."
)
@click.option("--absence-s", default=1.0, show_default=True, help="Allowed once it has been subscribed.")
def main(
    *,
    http_port: int,
    kubeconfig: str | None,
    namespace: str | None,
    gateway_selector: str,
    engine_selector: str,
    gateway_port: int,
    static_gateways: str,
    static_engines: str,
    cut_every_s: float,
    ask_timeout_s: float,
    control_phase_timeout_s: float,
    first_subscription_s: float,
    absence_s: float,
) -> None:
    """Compare what gateways believe with what engines hold, four times a second."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    identity = Identity.from_environment()
    try:
        settings = Settings(
            identity=identity,
            http_port=http_port,
            kubeconfig=Path(kubeconfig) if kubeconfig else None,
            namespace=namespace or identity.namespace,
            gateway_selector=gateway_selector,
            engine_selector=engine_selector,
            gateway_port=gateway_port,
            static_gateways=parse_places(
                static_gateways, flag="--static-gateways", default_port=gateway_port
            ),
            static_engines=parse_places(static_engines, flag="--static-engines", default_port=8000),
            cut_every_s=cut_every_s,
            ask_timeout_s=ask_timeout_s,
            control_phase_timeout_s=control_phase_timeout_s,
            allowances=Allowances(first_subscription_s=first_subscription_s, later_s=absence_s),
        )
        observer = Observer(settings, clock=SystemClock())
        programs.run(programs.until_told(observer.run()))
    except (ObserverError, KubeconfigError) as mistake:
        click.echo(f"observer: {mistake}", err=True)
        sys.exit(WRONG_ARGUMENT)
    except OSError as mistake:
        click.echo(f"observer: cannot listen on {identity.bind_ip}:{http_port}: {mistake}", err=True)
        sys.exit(WRONG_ARGUMENT)


if __name__ == "__main__":
    main()
