"""Prints as JSON what TensorBoard's own reader and its page HPARAMS make of a folder of runs.

usage: hparams.py FOLDER
"""

import json
import sys

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, metadata
from tensorboard.plugins.hparams.list_session_groups import Handler


def plain(value):
    return getattr(value, value.WhichOneof("kind"))


def main():
    folder = sys.argv[1]
    events = EventMultiplexer().AddRunsFromDirectory(folder)
    events.Reload()
    provider = MultiplexerDataProvider(events, folder)
    context = backend_context.Context(TBContext(data_provider=provider))
    request = RequestContext()
    content = context.hparams_metadata(request, "")
    found = context.experiment_from_metadata(request, "", True, content, [])
    statuses = range(len(api_pb2.Status.keys()))
    columns = [api_pb2.ColParams(hparam=info.name) for info in found.hparam_infos]
    wanted = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100, allowed_statuses=statuses, col_params=columns)
    groups = Handler(request, context, "", wanted).run().session_groups
    runs = {}
    for group in groups:
        (session,) = group.sessions
        (text,) = events.Tensors(session.name, "config")
        runs[session.name] = {
            "hparams": {key: plain(value) for key, value in group.hparams.items()},
            "metrics": {value.name.tag: value.value for value in session.metric_values},
            "status": api_pb2.Status.Name(session.status),
            "start": session.start_time_secs,
            "end": session.end_time_secs,
            "text": text.tensor_proto.string_val[0].decode(),
            "plugin": events.SummaryMetadata(session.name, "config").plugin_data.plugin_name,
        }
    assert set(runs) == {run for run, tags in content.items() if metadata.SESSION_START_INFO_TAG in tags}
    print(json.dumps({"runs": runs, "differ": [info.name for info in found.hparam_infos if info.differs]}))


if __name__ == "__main__":
    main()
