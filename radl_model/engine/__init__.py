"""The denoising engine and what a method needs to sit on it; `docs/engine.md` shows how.

`Engine` runs the loop, `LayoutAdapter` and `Session` are what a method brings, `AttentionStore` reads attention maps.
"""

from radl_model.engine.attention import AttentionStore
from radl_model.engine.engine import Engine, Inputs
from radl_model.engine.layouts import Layout, as_layouts
from radl_model.engine.protocol import LayoutAdapter, Session
from radl_model.engine.roles import attentions_at, low_attentions, mid_attentions, text_attentions
from radl_model.engine.run import Run, Step, UNetCall
from radl_model.engine.settings import SCHEDULERS, Settings, make_scheduler
from radl_model.engine.spans import Span, token_spans

__all__ = [
    "SCHEDULERS",
    "AttentionStore",
    "Engine",
    "Inputs",
    "Layout",
    "LayoutAdapter",
    "Run",
    "Session",
    "Settings",
    "Span",
    "Step",
    "UNetCall",
    "as_layouts",
    "attentions_at",
    "low_attentions",
    "make_scheduler",
    "mid_attentions",
    "text_attentions",
    "token_spans",
]
