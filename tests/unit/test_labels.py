"""Names of rows in a table."""

from radl_bench.report.labels import told_apart

FOLDERS = ["1a", "2b", "3c"]


def test_one_run_a_method_needs_nothing_more():
    assert told_apart(["RaDL", "MIGC"], [{"a": 1}, {"a": 2}], FOLDERS[:2]) == ["RaDL", "MIGC"]


def test_an_ablation_is_called_by_its_weights():
    params = [
        {"steps": 30, "adapter": {"relation": True, "fusion": "sac"}},
        {"steps": 30, "adapter": {"relation": False, "fusion": "sac"}, "weights": "radl-no-relation"},
        {"steps": 30, "adapter": {"relation": True, "fusion": "mean"}, "weights": "radl-no-softmax"},
    ]
    assert told_apart(["RaDL"] * 3, params, FOLDERS) == ["RaDL", "RaDL (radl-no-relation)", "RaDL (radl-no-softmax)"]


def test_settings_that_differ_are_spelt_out():
    params = [{"guidance": 4.0, "steps": 30}, {"guidance": 7.5, "steps": 30}]
    assert told_apart(["SD", "SD"], params, FOLDERS[:2]) == ["SD (guidance=4.0)", "SD (guidance=7.5)"]


def test_what_settings_do_not_tell_apart_the_folder_does():
    assert told_apart(["SD", "SD", "RaDL"], [{"a": 1}, {"a": 1}, {}], FOLDERS) == ["SD #1a", "SD #2b", "RaDL"]
    many = [{str(k): 0 for k in range(5)}, {str(k): 1 for k in range(5)}]
    assert told_apart(["SD", "SD"], many, FOLDERS[:2]) == ["SD #1a", "SD #2b"]
