"""Whether the model for a job is on this machine, or can be fetched: asked before anything is sent."""

from schemas.options import Options
from v2t_stream.engines.offer import obstacle
from v2t_stream.errors import Reject, Retry
from v2t_stream.models import problem
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.transcription.providers import load, offers


async def model_missing(settings: Settings, options: Options, store: ObjectStore) -> str | None:
    """Why this machine alone can get no model for such a job now; None if it has or can get one."""
    models, reason = Models(settings, store), None
    for offer in offers((provider for provider in load(settings) if provider.enabled), settings.model):
        if obstacle(offer, options):
            continue
        if offer.is_service:
            return None
        model = offer.model_for(options)
        why = problem(model, offer.engine)
        try:
            await models.check(offer.engine, model)
        except (Reject, Retry) as error:
            why = str(error)
        if not why:
            return None
        reason = reason or why
    return reason
