"""What plugin authors import in their tests: a whole hub around their plugin, and the conformance test.

The fixtures ``hub_factory`` and ``database_url`` come by themselves with the package::

    async def test_greets(hub_factory):
        hub = await hub_factory(plugins=[Greeter])
        answer = await hub.client.get("/business/greeter/hello")
        assert answer.status == 200
"""

from heartwood.testing.conformance import conformance
from heartwood.testing.database import fresh_database
from heartwood.testing.hub import RunningHub, running_hub

__all__ = ["RunningHub", "conformance", "fresh_database", "running_hub"]
