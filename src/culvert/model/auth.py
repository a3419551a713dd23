"""`auth ...`: partitions, and the users with what they may do."""

from collections.abc import Iterator, Mapping

from culvert.model.fields import Choice, Field, Integer, Members, Raw
from culvert.model.kind import Kind, Naming, Object, World
from culvert.model.net import PARTITION as PARTITION
from culvert.model.net import ROUTE_DOMAIN
from culvert.model.net_ipsec import DESCRIPTION
from culvert.model.passwords import Password
from culvert.model.problems import Problem

USER = ("auth", "user")
ADMIN_PARTITIONS = ("cli", "admin-partitions")
ALL_PARTITIONS = "all-partitions"

ROLES = ("admin", "resource-admin", "user-manager", "manager", "operator", "auditor", "guest", "no-access")
"""From much to nothing; `control.access` says what each may do."""

WHOLE = ("admin", "resource-admin", "user-manager", "auditor")
"""Roles over what no partition holds, so there is no holding them in one."""


def partitions_exist(user: Object, world: World) -> Iterator[Problem]:
    """A role is held in a partition that is there, or in all of them and then in no single one beside."""
    given = list(user["partition-access"])
    if ALL_PARTITIONS in given and len(given) > 1:
        yield user.problem(f"{ALL_PARTITIONS} can't stand beside single partitions", "partition-access")
    for name in given:
        if name != ALL_PARTITIONS and world.get(PARTITION, name) is None:
            yield user.problem(f"the requested partition ({name}) was not found", "partition-access")
        role = user["partition-access"][name]["role"]
        if name != ALL_PARTITIONS and role in WHOLE:
            allowed = ", ".join(each for each in ROLES if each not in WHOLE)
            yield user.problem(
                f"{role} is a role in {ALL_PARTITIONS}, not in {name} alone; allowed there: {allowed}",
                "partition-access",
            )


def password_is_no_name(name: str, raw: Mapping[str, Raw]) -> Iterator[Problem]:
    """Looked at before it is hashed: afterwards nobody can tell."""
    if str(raw.get("password", "")).casefold() == name.casefold():
        yield Problem("the user's own name is no password", word="password")


def password_lets_in(user: Object, world: World) -> Iterator[Problem]:
    """A hash of another system's kind is kept, but isn't tried."""
    if user["password"] is not None and not user["password"].lets_in:
        yield user.problem("is of a kind that is kept but lets nobody in; type the password again", "password")


def route_domain_exists(partition: Object, world: World) -> Iterator[Problem]:
    wanted = partition["default-route-domain"]
    if all(own["id"] != wanted for own in world.all(ROUTE_DOMAIN)):
        yield partition.problem(f"there is no route domain {wanted}", "default-route-domain")


def users_of(partition: Object, world: World) -> Iterator[Object]:
    """Who has a role there; and what says that shells start there."""
    yield from (user for user in world.all(USER) if partition.name in user["partition-access"])
    yield from (own for own in world.all(ADMIN_PARTITIONS) if own["update-partition"] == partition.name)


PARTITION_KIND = Kind(
    path=PARTITION,
    keeps=True,
    title="partition",
    help="A partition: a top folder with users of its own",
    naming=Naming.PLAIN,
    rules=(route_domain_exists,),
    concerns=users_of,
    fields=(
        Field("default-route-domain", Integer(0, 65534), "Route domain of addresses without %ID", 0),
        DESCRIPTION,
    ),
)

USER_KIND = Kind(
    path=USER,
    keeps=True,
    title="user",
    help="A user of the host, and what that user may do here",
    naming=Naming.PLAIN,
    rules=(partitions_exist,),
    advice=(password_lets_in,),
    typed=password_is_no_name,
    fields=(
        DESCRIPTION,
        Field("password", Password(), "Password for the web and its API", shown_as="encrypted-password"),
        Field(
            "partition-access",
            Members((Field("role", Choice(ROLES), "What the user may do there", "guest", always=True),)),
            "Roles by partition, or in all-partitions",
            {},
            always=True,
            label="Partition Access",
        ),
        Field("shell", Choice(("none", "tmsh", "bash")), "The user's shell", "none", label="Terminal Access"),
    ),
)

KINDS = (PARTITION_KIND, USER_KIND)
