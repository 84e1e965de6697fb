"""`python -m resync.gateway`."""

import logging
import os
import sys
from pathlib import Path

import click

from resync.cluster.errors import KubeconfigError
from resync.gateway import flaws
from resync.gateway.errors import GatewayError
from resync.gateway.gateways import Gateway
from resync.gateway.settings import PATIENT, Identity, Patience, Settings, parse_static_engines
from resync.kits import programs
from resync.kits.clocks import SystemClock
from resync.kvsync.configuration import parse
from resync.kvsync.errors import ConfigurationError

WRONG_ARGUMENT = 2
BLOCK_SIZE = 16


@click.command()
@click.option("--http-port", default=8080, show_default=True, help="Completions, /index, /metrics, /health.")
@click.option(
    "--kubeconfig", envvar="KUBECONFIG", help="The cluster to watch; none: the pod's own credentials."
)
@click.option("--namespace", help="Where the engines are; default: the gateway's own namespace.")
@click.option("--engine-selector", default="model.aibrix.ai/name", show_default=True)
@click.option("--static-engines", default="", help="name=ip,...: no Kubernetes API is asked.")
@click.option(
    "--block-size",
    type=click.IntRange(min=1),
    help="Tokens per block, as the engines have it; default: AIBRIX_PREFIX_CACHE_BLOCK_SIZE / 4, or 16.",
)
@click.option("--index-view/--no-index-view", default=True, help="Whether GET /index is there.")
@click.option("--heartbeat-interval-s", default=PATIENT.heartbeat_interval_s, show_default=True)
@click.option("--heartbeat-timeout-s", default=PATIENT.heartbeat_timeout_s, show_default=True)
@click.option("--heartbeat-connect-timeout-s", default=PATIENT.connect_timeout_s, show_default=True)
@click.option("--replay-timeout-s", default=PATIENT.replay_timeout_s, show_default=True)
@click.option("--flaw", help="A deliberate defect, NAME[:AFTER_S]; for tests.")
def main(
    *,
    http_port: int,
    kubeconfig: str | None,
    namespace: str | None,
    engine_selector: str,
    static_engines: str,
    block_size: int | None,
    index_view: bool,
    heartbeat_interval_s: float,
    heartbeat_timeout_s: float,
    heartbeat_connect_timeout_s: float,
    replay_timeout_s: float,
    flaw: str | None,
) -> None:
    """Route completions by an index of the engines' KV blocks."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    identity = Identity.from_environment()
    try:
        configuration = parse(os.environ, absent=True)
        settings = Settings(
            identity=identity,
            http_port=http_port,
            kubeconfig=Path(kubeconfig) if kubeconfig else None,
            namespace=namespace or identity.namespace,
            engine_selector=engine_selector,
            static_engines=parse_static_engines(static_engines),
            block_size=block_size or configuration.block_size or BLOCK_SIZE,
            configuration=configuration,
            index_view=index_view,
            patience=Patience(
                heartbeat_interval_s=heartbeat_interval_s,
                heartbeat_timeout_s=heartbeat_timeout_s,
                connect_timeout_s=heartbeat_connect_timeout_s,
                replay_timeout_s=replay_timeout_s,
            ),
        )
        for warning in configuration.warnings:
            logging.getLogger(__name__).warning("%s", warning)
        clock = SystemClock()
        gateway = Gateway(settings, parts=flaws.parts_for(flaw, clock), clock=clock)
        programs.run(programs.until_told(gateway.run()))
    except (GatewayError, KubeconfigError, ConfigurationError) as mistake:
        click.echo(f"gateway: {mistake}", err=True)
        sys.exit(WRONG_ARGUMENT)
    except OSError as mistake:
        click.echo(f"gateway: cannot listen on {identity.bind_ip}:{http_port}: {mistake}", err=True)
        sys.exit(WRONG_ARGUMENT)


if __name__ == "__main__":
    main()
