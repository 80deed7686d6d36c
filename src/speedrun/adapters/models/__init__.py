"""Language models: config/model/*.yaml to replies that are paid once, stored and accounted for."""

from speedrun.adapters.models.failures import ContextTooLong, EndpointError
from speedrun.adapters.models.model import CallKey, Completion, Model, NotAsked, Reply, open_model
from speedrun.adapters.models.spec import RequestError

__all__ = [
    "CallKey",
    "Completion",
    "ContextTooLong",
    "EndpointError",
    "Model",
    "NotAsked",
    "Reply",
    "RequestError",
    "open_model",
]
