"""GroundingDINO with random weights: two libraries, one answer; the backbone runs once; checkpoints in both layouts."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest
import torch
from tiny_grounding import SIDE, agreement, noise, random_model, tiny_config, vocabulary

from radl_bench.errors import BadInput, MissingExtra
from radl_bench.judges import grounding_convert as convert
from radl_bench.judges.grounding import Query, load_tokenizer, make_query, pixels_of
from radl_bench.judges.grounding_config import default_config
from radl_bench.judges.grounding_dino import GroundingDino, TransformersNetwork, load_model
from radl_bench.judges.groundingdino_py import GroundingDinoPy, OriginalNetwork, build_original
from radl_bench.judges.kinds.detections import DETECTOR
from radl_bench.scoring.judging import make_judges

CATEGORIES = ["dog", "dining table", "cup"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    """A folder in the hub's layout, as transformers itself writes it, with the vocabulary."""
    folder = tmp_path_factory.mktemp("hub")
    random_model(tiny_config()).save_pretrained(folder)
    (folder / "vocab.txt").write_bytes(vocabulary().read_bytes())
    return folder


@pytest.fixture(scope="module")
def original(hub) -> Path:
    """The same checkpoint as a `.pth` of the original layout."""
    file = hub.parent / "original" / "groundingdino_swint_ogc.pth"
    assert convert.convert(hub / "model.safetensors", file) == "original"
    for name in ("config.json", "vocab.txt"):  # the config only because this model is tiny
        (file.parent / name).write_bytes((hub / name).read_bytes())
    return file


@pytest.fixture(scope="module")
def detectors(hub, original):
    return GroundingDino(weights=hub, side=SIDE), GroundingDinoPy(weights=original, side=SIDE)


@pytest.fixture(scope="module")
def stock(hub):
    """transformers' own model of the same weights, as the library loads it."""
    from transformers import GroundingDinoForObjectDetection

    return GroundingDinoForObjectDetection.from_pretrained(hub).eval()


def full(model, image, query):
    with torch.inference_mode():
        out = model(pixel_values=pixels_of(image, SIDE), input_ids=torch.tensor([query.ids]))
    return out.logits, out.pred_boxes


def look(network, image, queries, side=SIDE):
    with torch.inference_mode():
        network.see(pixels_of(image, side))
        answer = network.ask(queries)
        network.forget()
    return answer


def test_one_backbone_for_all_categories_gives_what_a_full_forward_a_query_gives(detectors, stock):
    tokenizer, network = detectors[0].tokenizer, detectors[0].network
    image = noise(0)
    for name in CATEGORIES:
        query = make_query(tokenizer, name)
        expected = full(stock, image, query)
        assert expected[0][..., : len(query.ids)].std(1).max() > 1
        assert agreement(expected, look(network, image, [query]), len(query.ids)) >= 0.99


def test_a_batch_of_queries_gives_what_single_queries_give(detectors):
    network = detectors[0].network
    queries = [make_query(detectors[0].tokenizer, name) for name in CATEGORIES]
    assert len({len(query.ids) for query in queries}) > 1
    logits, boxes = look(network, noise(3), queries)
    for n, query in enumerate(queries):
        alone = look(network, noise(3), [query])
        assert agreement((logits[n : n + 1], boxes[n : n + 1]), alone, len(query.ids)) >= 0.99


def test_both_libraries_agree(detectors):
    own, theirs = (detector.network for detector in detectors)
    rows = []
    for seed, names in enumerate((CATEGORIES, CATEGORIES[:1])):
        for name in names:
            query = make_query(detectors[0].tokenizer, name)
            rows.append(agreement(look(own, noise(seed), [query]), look(theirs, noise(seed), [query]), len(query.ids)))
    assert sum(rows) / len(rows) >= 0.99


def test_both_detectors_find_the_same(detectors):
    images = [noise(0), noise(1, 90, 160)]
    queries = [["dog", "dining table"], ["dining table"]]
    a, b = (detector.detect(images, queries) for detector in detectors)
    assert [[d.category for d in found] for found in a] == [[d.category for d in found] for found in b]
    assert {d.category for d in a[0]} == {"dog", "dining table"}
    assert 0.05 <= min(d.score for d in a[0]) < 0.5 < max(d.score for d in a[0])
    for left, right in zip(a[0] + a[1], b[0] + b[1], strict=True):
        assert left.score == pytest.approx(right.score, abs=1e-4)
        assert left.box == pytest.approx(right.box, abs=1e-4)


@pytest.mark.parametrize("which", [0, 1], ids=["transformers", "groundingdino-py"])
def test_the_backbone_runs_once_a_picture_and_a_query_once(detectors, which, monkeypatch):
    network = detectors[which].network
    backbone = network.model.model.backbone if which == 0 else network.model.backbone
    runs, asked = [], []
    hook = backbone.inner.register_forward_hook(lambda *_: runs.append(1))
    ask = network.ask
    monkeypatch.setattr(network, "ask", lambda queries: asked.extend(queries) or ask(queries))
    image, other = noise(5), noise(6)
    queries = [["dog", "cup", "dog"], ["cup"], ["dining table", "dog"], []]
    found = detectors[which].detect([image, other, image.copy(), noise(7)], queries)
    hook.remove()
    assert len(runs) == 2
    assert len(asked) == 4
    assert found[0] == detectors[which].detect([image], [["dog", "cup"]])[0]
    assert [d for d in found[2] if d.category == "dog"] == [d for d in found[0] if d.category == "dog"]
    assert found[3] == []


def test_the_library_is_left_as_it_was(original):
    import groundingdino.models.GroundingDINO.groundingdino as library

    def names():
        tools = library.get_tokenlizer
        return library.BertModelWarper, tools.get_tokenlizer, tools.get_pretrained_language_model

    before = names()
    build_original(tiny_config())
    assert names() == before
    with pytest.raises(BadInput, match="no Swin of width"):
        build_original(tiny_config(backbone_config=tiny_config().backbone_config.__class__(embed_dim=48)))
    with pytest.raises(ValueError, match="hidden size"):
        build_original(tiny_config(text_config=tiny_config().text_config.__class__(hidden_size=30)))
    assert names() == before


def test_a_checkpoint_comes_back_from_the_other_layout(hub, original, tmp_path):
    state, other = convert.read_checkpoint(hub / "model.safetensors"), convert.read_checkpoint(original)
    assert (convert.layout_of(state), convert.layout_of(other)) == ("hub", "original")
    back = convert.to_hub(other)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items() if ".swin.layernorm." not in name)
    again = convert.to_original(back)
    assert again.keys() == other.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in other.items())
    prefixed = {f"module.{name}": tensor for name, tensor in other.items()} | {"module.label_enc.weight": torch.ones(1)}
    assert convert.to_hub(prefixed).keys() == back.keys()


def test_converting_is_a_command(original, tmp_path, capsys):
    assert convert.main([str(original), str(tmp_path / "hub")]) == 0
    assert "hub layout" in capsys.readouterr().out
    a, b = load_model(tmp_path / "hub" / "model.safetensors"), load_model(original)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert convert.main(["one"]) == 2
    assert "Run: python -m" in capsys.readouterr().err


def test_bad_checkpoints_are_sentences(original, tmp_path):
    half = tmp_path / "half.pth"
    half.write_bytes(original.read_bytes()[:100_000])
    with pytest.raises(BadInput, match="cannot be read"):
        load_model(half)
    with pytest.raises(BadInput, match="no GroundingDINO checkpoint"):
        convert.layout_of({"weight": 1})
    with pytest.raises(BadInput, match="which SwinT-OGC has not"):
        convert.to_hub({"transformer.level_embed": torch.ones(1), "extra.weight": torch.ones(1)})
    with pytest.raises(BadInput, match="does not fit"):
        load_model(original, tiny_config(num_queries=40))
    state = convert.read_checkpoint(original)
    del state["feat_map.weight"]
    with pytest.raises(BadInput, match=r"lacks 1 weights.*feat_map"):
        build_original(tiny_config(), state)


def test_without_its_package_the_backend_is_a_sentence(monkeypatch):
    real = builtins.__import__

    def lacking(name, *rest, **more):
        if name.startswith("groundingdino"):
            raise ImportError("No module named 'groundingdino'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(MissingExtra, match="pip install groundingdino-py"):
        build_original(tiny_config())


@pytest.mark.parametrize("name", ["grounding-dino", "groundingdino-py"])
def test_judges_are_made_by_name_with_a_device_and_load_nothing(name, hub, monkeypatch):
    monkeypatch.setattr("radl_bench.judges.grounding_weights.weights_folder", lambda _: hub)
    monkeypatch.setattr("radl_bench.judges.local_weights.weights_folder", lambda _: hub)
    judges = make_judges(name, None, "none", device="cpu")
    assert judges.names["segmenter"] == "grabcut"
    detector = judges.get(DETECTOR)
    assert detector.signature.startswith(f"{name}@")
    assert detector.device == "cpu"
    assert not {"network", "tokenizer"} & vars(detector).keys()


@pytest.mark.slow
def test_both_libraries_agree_at_the_real_size(tmp_path):
    """Logits are compared in units of their spread, some 6: rounding grows with them, and with the processor."""
    config, image = default_config(), noise(0, 300, 300)
    query = make_query(load_tokenizer(vocabulary()), "dining table")
    model = random_model(config)
    model.save_pretrained(tmp_path)
    state = convert.to_original(convert.read_checkpoint(tmp_path / "model.safetensors"))
    theirs = look(OriginalNetwork(build_original(config, state)), image, [query], side=480)
    own = look(TransformersNetwork(model), image, [query], side=480)
    assert own[0].shape == (1, 900, 256)
    n = len(query.ids)
    spread = float(own[0][..., :n].std(1).max())
    assert 1 < spread < 10
    assert agreement((own[0] / spread, own[1]), (theirs[0] / spread, theirs[1]), n) >= 0.99


def test_in_double_precision_only_rounding_is_left_between_the_lean_and_the_full_forward():
    query, model = Query((101, 7759, 2795, 1012, 102), (1, 2)), random_model(tiny_config()).double()
    pixels = pixels_of(noise(0), SIDE).double()
    with torch.inference_mode():
        full_out = model(pixel_values=pixels, input_ids=torch.tensor([query.ids]))
        network = TransformersNetwork(model)
        network.see(pixels)
        logits, boxes = network.ask([query])
    assert (full_out.logits - logits)[..., :5].abs().max() < 1e-9
    assert (full_out.pred_boxes - boxes).abs().max() < 1e-9
