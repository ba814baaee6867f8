"""uvicorn's `ws` class as those make it that do not serve by uvicorn.Server: its own tests, for one."""

import uvicorn
from uvicorn.server import ServerState

from atalanta import WebSocketProtocol


async def application(scope, receive, send):
    pass


async def test_a_configuration_that_is_not_loaded_yet_is_loaded():
    """As by uvicorn's own classes."""
    config = uvicorn.Config(application, log_config=None, lifespan="off")
    assert not config.loaded
    WebSocketProtocol(config, ServerState(), {})
    assert config.loaded
    loaded = config.loaded_app
    WebSocketProtocol(config, ServerState(), {})
    assert config.loaded_app is loaded
