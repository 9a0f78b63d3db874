"""`v2t secrets`: credentials for a broker that other machines reach."""

from collections.abc import Sequence
from pathlib import Path

import click

from v2t_stream.access import certificates, credentials
from v2t_stream.access.roles import ROLES, role
from v2t_stream.cli.output import Column, print_table

_FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group()
def secrets() -> None:
    """Make a broker's certificates, users and roles, and add and revoke users."""


@secrets.command()
@_FOLDER
@click.option(
    "--host", "hosts", multiple=True, required=True, help="A name or address of the broker; the clients use the first."
)
@click.option("--listen", default="0.0.0.0:4222", show_default=True, help="Where the broker listens.")
def init(folder: Path, hosts: Sequence[str], listen: str) -> None:
    """Set up a broker with TLS and roles. This writes all its files into FOLDER, with one user for each role."""
    for user in credentials.create(folder, hosts, listen):
        click.echo(f"{folder / user.name}.env: for a user who {role(user.role).does}")
    click.echo(f"start the broker: nats-server -c {folder / 'server.conf'}")


@secrets.command()
@_FOLDER
@click.argument("role_name", metavar="ROLE", type=click.Choice([each.name for each in ROLES]))
@click.argument("name")
def add(folder: Path, role_name: str, name: str) -> None:
    """Add the user NAME with a ROLE."""
    file = credentials.add(folder, role_name, name)
    click.echo(
        f"copy {file} and {folder / certificates.CA} to its machine, under the same paths, or change NATS_CA in it"
    )
    _say_reload(folder)


@secrets.command()
@_FOLDER
@click.argument("name")
def revoke(folder: Path, name: str) -> None:
    """Remove the user NAME. Once the broker reloads, the user's connections end."""
    credentials.revoke(folder, name)
    _say_reload(folder)


@secrets.command()
@_FOLDER
@click.option("--host", "hosts", multiple=True, help="The names on the new certificate; by default the same as before.")
def renew(folder: Path, hosts: Sequence[str]) -> None:
    """Renew the broker's certificate. This also gives all users the permissions of this release."""
    credentials.renew(folder, hosts)
    click.echo(f"the broker's certificate is valid for {certificates.days_left(folder)} more days")
    _say_reload(folder)


@secrets.command("list")
@_FOLDER
def list_(folder: Path) -> None:
    """Show the users. Also shows how long the broker's certificate is valid."""
    columns = (Column("user"), Column("role"), Column("what it does", cut="nothing"))
    print_table(columns, [(user.name, user.role, role(user.role).does) for user in credentials.read(folder)])
    hosts = ", ".join(certificates.hosts_of(folder))
    click.echo(f"the certificate for {hosts} is valid for {certificates.days_left(folder)} more days")


def _say_reload(folder: Path) -> None:
    click.echo(f"then: nats-server --signal reload={folder.absolute() / credentials.PID}")
