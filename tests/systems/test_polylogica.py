"""What only polylogica must do: the sharp checks of its sheet."""

import itertools
import json

import gudhi
import meshio
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate import run
from foveate.cli import main
from foveate.errors import InputError
from foveate.results import Picture
from foveate.systems.structures.polylogica import reproduce, samples
from foveate.systems.structures.polylogica.bisimulation import Separator, minimise
from foveate.systems.structures.polylogica.complexes import MissingFace, closed, cubes, from_simplices, maze, subdivide
from foveate.systems.structures.polylogica.imgql import read_specification, write_specification
from foveate.systems.structures.polylogica.method import Checker, Formulas, Frame, Naive
from foveate.systems.structures.polylogica.models import read_json
from foveate.systems.structures.polylogica.output import Page, Ply, Volume, Vtu, compact
from foveate.systems.structures.polylogica.reading import Reading, read_model

SPEC = """
let red = ap("red")
save "near" near(red)
save "inside" interior(ap("blue"))
save "bluered" through(ap("blue"),red)
save "redblue" through(red,ap("blue"))
"""
# In the file's order: three points, three edges, the face.
ANSWERS = {"near": "1111000", "inside": "0000111", "bluered": "1111111", "redblue": "1101000"}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def triangle_json():
    return json.loads(compact(samples.triangle()).text)


def bits(text):
    return np.array([c == "1" for c in text])


def evaluate(model, text, folder, **options):
    """Return what a specification's text saves on a model."""
    asked = read_specification(write(folder / "spec.imgql", text), model.atoms)
    checker = Checker(model.frame, model.atoms, **options)
    return dict(zip(asked.saves, checker.values(asked.formulas, list(asked.saves.values())), strict=True))


@st.composite
def frames(draw, most=9):
    """Draw any reflexive frame with two sets of cells: posets, graphs and what is neither."""
    size = draw(st.integers(1, most))
    pairs = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=2 * size))
    upper, lower = np.array(pairs, np.int64).reshape(-1, 2).T
    sets = draw(st.lists(st.lists(st.booleans(), min_size=size, max_size=size), min_size=2, max_size=2))
    return Frame.from_pairs(size, upper, lower), *map(np.array, sets)


# --- semantics -------------------------------------------------------------------------------------------------------


def test_the_triangle_from_the_command_line(tmp_path):
    model, spec = write(tmp_path / "triangle.json", triangle_json()), write(tmp_path / "spec.imgql", SPEC)
    assert main(["run", "polylogica", "check", str(model), str(spec), "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "triangle_result.json").read_text())
    assert found == {name: bits(answer).tolist() for name, answer in ANSWERS.items()}


@pytest.mark.parametrize("turned", [False, True])
def test_answers_come_in_the_order_of_the_file_whatever_it_is(tmp_path, turned):
    content = triangle_json()
    content["numberOfPoints"] = 19  # as in a published sample
    if turned:
        content["simplexes"].reverse()
        for simplex in content["simplexes"]:
            simplex["points"].reverse()
    model, spec = write(tmp_path / "m.json", content), write(tmp_path / "spec.imgql", SPEC)
    outcome = run("polylogica", model, spec)
    for name, answer in ANSWERS.items():
        assert outcome["result"].values[name].tolist() == bits(answer)[:: -1 if turned else 1].tolist()
    assert any("19" in note for note in outcome.notes)


@settings(max_examples=60, deadline=None)
@given(frames())
def test_operators_agree_with_their_definitions_on_any_frame(drawn):
    frame, safe, target = drawn
    slow = Naive(frame)
    assert (frame.closure(safe) == slow.closure(safe)).all()
    assert (frame.star(safe) == slow.star(safe)).all()
    assert (frame.through(safe, target) == slow.through(safe, target)).all()
    # The paper's derived operator: gamma to anywhere through a set is the closure of the set.
    assert (frame.through(safe, np.ones(frame.size, bool)) == frame.closure(safe)).all()


def test_the_flood_is_a_search_for_paths_on_every_small_complex():
    found = reproduce.paths(0, "quick")["flood"]
    assert found["mismatches"] == 0
    assert found["cases"] > 100
    # The reference itself, against paths spelled out: up, to and fro, down, over at most five cells.
    whole = next(c for c in reproduce.small_complexes(3) if c.counts == (3, 3, 1))
    faces = [set(map(int, row)) for rows in whole.simplices for row in rows]
    cells = range(7)
    for safe, target in itertools.islice(itertools.product(itertools.product((0, 1), repeat=7), repeat=2), 0, None, 37):
        reached = set()
        for path in itertools.chain.from_iterable(itertools.product(cells, repeat=k) for k in (1, 2, 3)):
            if all(safe[w] for w in path) and all(
                faces[a] <= faces[b] or faces[b] <= faces[a] for a, b in itertools.pairwise(path)
            ) and any(target[w] and faces[w] <= faces[path[-1]] for w in cells):  # fmt: skip
                reached |= {w for w in cells if faces[w] <= faces[path[0]]}
        slow = Naive(whole.frame).through(np.array(safe, bool), np.array(target, bool))
        assert set(np.flatnonzero(slow)) == reached


def test_values_do_not_change_under_subdivision_and_a_flood_through_neighbouring_dimensions_fails():
    found = reproduce.subdivision(0, "full")
    assert found["all faces"] == {"mismatches": 0, "cases": 500}
    assert found["neighbouring dimensions"]["mismatches"] > 0
    whole, atoms = reproduce.pendant()
    assert whole.frame.through(atoms["p"], atoms["q"]).all()
    assert not reproduce.Stepwise.of(whole).through(atoms["p"], atoms["q"]).all()


def test_graph_semantics_gives_another_answer_on_the_triangle(tmp_path):
    model, spec = write(tmp_path / "m.json", triangle_json()), write(tmp_path / "s.imgql", SPEC)
    graph = run("polylogica", model, spec, semantics="graph")["result"].values
    assert graph["near"].all()
    assert not graph["inside"].any()


def test_releases_read_near_and_interior_otherwise(tmp_path):
    model = samples.triangle()
    old = evaluate(model, SPEC, tmp_path, compat="0.3")
    assert old["near"].tolist() == bits("0011111").tolist()
    assert old["inside"].tolist() == bits("1100000").tolist()
    mixed = evaluate(model, SPEC, tmp_path, compat="0.4")
    assert mixed["near"].tolist() == bits("1111000").tolist()
    assert mixed["inside"].tolist() == old["inside"].tolist()


# --- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"threads": 4}, {"cache": False}])
def test_every_way_to_evaluate_gives_the_same(tmp_path, options):
    model = samples.white_maze(2)
    plain = evaluate(model, reproduce.GROWTH, tmp_path)
    other = evaluate(model, reproduce.GROWTH, tmp_path, **options)
    assert all((plain[name] == other[name]).all() for name in plain)
    reference = Checker(Naive(model.frame), model.atoms)
    asked = read_specification(tmp_path / "spec.imgql", model.atoms)
    for name, values in zip(asked.saves, reference.values(asked.formulas, list(asked.saves.values())), strict=True):
        assert (plain[name] == values).all()


def test_each_distinct_formula_is_evaluated_once(tmp_path):
    model = samples.triangle()
    lines = ["let d(a) = through(a,near(a))", 'let x0 = ap("red")', *(f"let x{i + 1} = d(x{i})" for i in range(60))]
    asked = read_specification(write(tmp_path / "s.imgql", "\n".join([*lines, 'save "x" x60\n'])), model.atoms)
    checker = Checker(model.frame, model.atoms)
    checker.values(asked.formulas, list(asked.saves.values()))
    assert checker.evaluated == asked.size == 1 + 2 * 60  # as a tree it would be more than 2 ** 60
    commuted = (
        'let a = ap("red")\nlet b = near(a)\nsave "one" a & b\nsave "two" b & a\nsave "three" through(a,b) | through(b,a)\n'
    )
    assert read_specification(write(tmp_path / "t.imgql", commuted), model.atoms).size == 6
    for seed in range(3):
        found = reproduce.sharing(seed, "quick")
        assert found["cached"]["surplus"] == 0
        assert found["not cached"]["evaluated"] > found["cached"]["evaluated"]


# --- the language ----------------------------------------------------------------------------------------------------


def test_a_prefix_operator_takes_the_whole_rest(tmp_path):
    text = 'let a = ap("red")\nlet b = ap("blue")\nsave "rest" !a & b\nsave "own" (!a) & b\nsave "right" a \\ b | a'
    model = samples.triangle()
    found = evaluate(model, text, tmp_path)
    red, blue = model.atoms["red"], model.atoms["blue"]
    assert (found["rest"] == ~(red & blue)).all()
    assert (found["own"] == (~red & blue)).all()
    assert (found["rest"] != found["own"]).any()
    assert (found["right"] == (red & ~(blue | red))).all()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('save "x" near(ap("rde"))', "1:15", "the model has no atom 'rde' (expected: perhaps red"),
        ('let a = ap("red")\nsave "x" thru(a,a)', "2:10", "thru is not defined (expected: perhaps through)"),
        ('let unused(a) = a & nowhere\nsave "x" tt', "1:21", "nowhere is not defined"),
        ('save "x" through(tt)', "1:10", "through got 1 argument (expected: 2 arguments)"),
        ('let f(a) = near(a)\nsave "x" f', "2:10", "f got no arguments (expected: 1 argument)"),
        ('save "x" near("red")', "1:10", "near got (string) (expected: (set))"),
        ('save "x" touch(tt,3)', "1:10", "through got (set, number)"),
        ('save "x" 3 .+. 4', "1:6", "cannot save a number"),
        ('save "x" tt\nsave "x" ff', "2:6", "'x' is saved twice"),
        ('save "x" (tt & ff', "1:18", "the file ends in the middle of a statement"),
        ("// one\nlet 3 = tt", "2:5", "unexpected '3'"),
        ('save "x" tt # ff', "1:13", "# is not defined"),
        ('save "x" tt €', "1:13", "unexpected '€'"),
        ('save "x tt', "1:6", "not closed"),
        ('import "nothing"\nsave "x" tt', "1:8", "there is no file 'nothing'"),
        ('load m = "m.json"\nsave "x" m', "2:10", "m is a model"),
        ('let f(a,a) = a\nsave "x" tt', "1:5", "f has a parameter twice"),
    ],
)  # fmt: skip
def test_a_wrong_specification_is_told_by_file_line_and_column(tmp_path, capsys, text, place, words):
    model, spec = write(tmp_path / "m.json", triangle_json()), write(tmp_path / "wrong.imgql", text)
    assert main(["run", "polylogica", "check", str(model), str(spec), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"wrong.imgql:{place}: " in said
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_definitions_imports_numbers_and_prints(tmp_path):
    write(tmp_path / "lib.imgql", "// shared\nlet ~>(a,b) = through(a,b)\nlet share(a) = volume(a) ./. volume(tt)\n")
    text = """load model = "elsewhere.json"
import "lib"
let red = ap("red") // the base
let either(a,b,c) = a & (b | c)
let ?(a,b,c,d) = either(a,b,c) | d
print "share" share(N red)
print "many" (volume(red) .>. 1.5) .&. true
print "cells" red
save "operator" red ~> ap("blue")
save "extra" red ?[ff,N red] ap("blue")
let B+(a) = near(a) \\ a
save "border" B+ red"""
    outcome = run("polylogica", write(tmp_path / "m.json", triangle_json()), write(tmp_path / "s.imgql", text))
    assert {"share: 0.5714285714285714", "many: true", "cells: 2 cells"} <= set(outcome.notes)
    assert any("elsewhere.json" in note for note in outcome.notes)
    values = outcome["result"].values
    assert values["operator"].tolist() == bits(ANSWERS["redblue"]).tolist()
    assert values["extra"].tolist() == bits("1111000").tolist()  # (red & (blue | ff)) | near(red)
    assert values["border"].tolist() == bits("1100000").tolist()


def test_long_and_deep_specifications(tmp_path):
    chain = " | ".join(f'ap("{name}")' for name in "ab" * 100)
    asked = read_specification(write(tmp_path / "s.imgql", f'save "x" {chain}'), {"a", "b"})
    assert len(asked.saves) == 1
    with pytest.raises(InputError, match="nested too deeply"):
        read_specification(write(tmp_path / "s.imgql", f'save "x" {"! " * 5000} tt'), {"a"})


# --- complexes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "counts"), [(1, (8, 18, 16, 5)), (3, (216, 918, 1080, 405)), (5, (1000, 4650, 5600, 2125))])
def test_mazes_have_the_published_counts(n, counts):
    whole, room, owner = maze(n)
    rooms, corridors = n**3, 3 * n**2 * (n - 1)
    assert whole.counts == counts == (
        8 * rooms, 18 * rooms + 8 * corridors, 16 * rooms + 12 * corridors, 5 * rooms + 5 * corridors,
    )  # fmt: skip
    assert whole.euler == rooms - corridors  # as the grid's graph, to which it shrinks
    assert all(len(np.unique(rows, axis=0)) == len(rows) for rows in whole.simplices)
    assert np.bincount(owner[room]).tolist() == [47] * rooms
    volumes = [abs(np.linalg.det(whole.points[t[1:]] - whole.points[t[0]])) / 6 for t in whole.simplices[3]]
    assert sum(volumes) == pytest.approx(rooms + 2 * corridors)  # the tetrahedra fill rooms and corridors


@pytest.mark.parametrize("seed", range(5))
def test_faces_and_cofaces_are_gudhis(seed):
    whole = reproduce.random_complex(np.random.default_rng(seed), points=9, tops=9)
    tree = gudhi.SimplexTree()
    for rows in whole.simplices:
        for row in rows.tolist():
            tree.insert(row)
    assert tree.num_simplices() == whole.size
    cells = [tuple(row) for rows in whole.simplices for row in rows.tolist()]
    number = {simplex: i for i, simplex in enumerate(cells)}
    for i, simplex in enumerate(cells):
        only = np.arange(whole.size) == i
        star = {i} | {number[tuple(sorted(s))] for s, _ in tree.get_star(list(simplex))}
        assert set(np.flatnonzero(whole.frame.star(only))) == star
        faces = {number[f] for k in range(1, len(simplex) + 1) for f in itertools.combinations(simplex, k)}
        assert set(np.flatnonzero(whole.frame.closure(only))) == faces


def test_subdivision_has_the_shape_of_the_whole():
    whole, *_ = maze(1)
    finer, carrier = subdivide(whole)
    assert finer.euler == whole.euler
    assert finer.counts[3] == 24 * whole.counts[3]
    assert set(carrier.tolist()) == set(range(whole.size))
    assert (whole.dimensions[carrier] >= finer.dimensions).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop(3), r"simplex 's6' on points \[0, 1, 2\] has no face on points \[0, 1\]"),
        (lambda s: s.append({**s[3], "id": "again"}), r"points \[0, 1\] is listed twice"),
        (lambda s: s[3].update(points=[0, 9]), "simplex 's3' has point 9, but there are 3 coordinates"),
        (lambda s: s[3].update(points=[0, 0]), "has a point twice"),
        (lambda s: s[3].update(points=[0, 1.5]), "no whole number"),
        (lambda s: s[3].update(points=[0, 10**30]), "too large a number"),
        (lambda s: s[3].update(points=[]), "simplex 's3' has no points"),
        (lambda s: s[3].update(atoms="red"), "the atoms of 's3' are 'red'"),
        (lambda s: s.clear(), "lists no simplexes"),
    ],
)
def test_a_broken_model_is_told_in_one_line(tmp_path, change, words):
    content = triangle_json()
    change(content["simplexes"])
    with pytest.raises(InputError, match=words) as caught:
        read_model(write(tmp_path / "broken.json", content))
    assert str(caught.value).startswith(str(tmp_path / "broken.json"))
    assert "\n" not in str(caught.value)


def test_a_missing_face_is_named_in_any_dimension():
    tetrahedron = [np.array(list(itertools.combinations(range(4), d + 1))) for d in range(4)]
    for d in range(3):
        for i in range(len(tetrahedron[d])):
            rows = [np.delete(t, i, axis=0) if k == d else t for k, t in enumerate(tetrahedron)]
            with pytest.raises(MissingFace) as caught:
                from_simplices(np.eye(4, 3), rows)
            assert set(tetrahedron[d][i]) <= set(caught.value.face) < set(caught.value.simplex)
    assert from_simplices(np.eye(4, 3), tetrahedron).euler == 1


# --- meshes and volumes ----------------------------------------------------------------------------------------------


def test_an_obj_with_colours_has_each_edge_once_and_the_authors_atoms(tmp_path):
    ball = trimesh.creation.icosphere(2)
    colours = np.random.default_rng(0).random((len(ball.vertices), 3))
    lines = [f"v {' '.join(map(str, [*v, *c]))}" for v, c in zip(ball.vertices, colours, strict=True)]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in ball.faces + 1]
    model = read_model(write(tmp_path / "ball.obj", "\n".join(lines) + "\n"))
    assert model.whole.counts == (len(ball.vertices), len(ball.edges_unique), len(ball.faces))
    assert model.whole.euler == ball.euler_number == 2
    for level in range(4):
        for i, rows in enumerate(model.whole.simplices):
            expected = [round(3 * float(colours[row, 0].mean())) == level for row in rows]
            part = slice(model.whole.starts[i], model.whole.starts[i + 1])
            assert model.atoms[f"r{level}"][part].tolist() == expected


def test_points_in_one_place_are_one_and_polygons_become_triangles(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 0\nv 2 2 2\nf 1 2 3 4\nf 5 3 4\nl 1 6\nf 1 5 2\n"
    model = read_model(write(tmp_path / "m.obj", text))
    assert model.whole.counts == (5, 6, 2)
    assert len(model.notes) == 2


def test_cells_written_as_vtu_come_back_as_atoms(tmp_path):
    whole, atoms = reproduce.pendant()
    Vtu(whole, {**atoms, "number": np.arange(whole.size) % 3}).write(tmp_path / "m.vtu")
    blocks = meshio.vtu.read(tmp_path / "m.vtu")
    assert [block.type for block in blocks.cells] == ["vertex", "line", "triangle"]
    model = read_model(tmp_path / "m.vtu")
    assert model.whole.counts == whole.counts
    place = np.concatenate([model.whole.find(rows) for rows in whole.simplices])
    for name, cells in {**atoms, "number1": np.arange(whole.size) % 3 == 1}.items():
        assert (model.atoms[name][place] == cells).all()


def test_ply_holds_points_and_triangles_with_a_property_for_each_formula(tmp_path):
    model = samples.triangle()
    Ply(model.whole, {"a b": model.atoms["red"], "a-b": model.atoms["blue"]}).write(tmp_path / "m.ply")
    found = trimesh.load(tmp_path / "m.ply", process=False)
    assert found.faces.tolist() == [[0, 1, 2]]
    assert found.vertices.tolist() == model.whole.points.tolist()
    raw = found.metadata["_ply_raw"]
    assert raw["vertex"]["data"]["a_b"].ravel().tolist() == [0, 0, 1]
    assert raw["face"]["data"]["a_b_"].ravel().tolist() == [1]


def test_the_page_holds_all_formulas_and_runs_no_text_of_the_users(tmp_path):
    model = samples.triangle()
    Page(model.whole, {"</script><b>": model.atoms["red"]}, "<i>title").write(tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text()
    assert text.count("</script>") == 1
    assert "<b></" not in text and "<i>" not in text and "__DATA__" not in text


def test_rules_labels_and_borders(tmp_path):
    obj = write(tmp_path / "m.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nl 1 2\nl 2 3\n")
    model = read_model(obj, Reading("left = x < 1, both = x >= 0.5 & x <= 1"))
    assert model.atoms["left"].tolist() == bits("10010").tolist()  # points at 0, 1, 2; edges at 0.5, 1.5
    assert model.atoms["both"].tolist() == bits("01010").tolist()
    for rules, words in (("a = q > 1", "no field 'q'"), ("a ~ 1", "cannot be understood"), ("= x > 1", "cannot be")):
        with pytest.raises(InputError, match=words):
            read_model(obj, Reading(rules))
    lines = np.array([[0, 1], [1, 2]])
    marked = meshio.Mesh(
        np.eye(3), [("line", lines)], cell_data={"kind": [np.array([1, 2])]}, point_data={"on": np.array([1, 1, 0])}
    )
    meshio.vtu.write(str(tmp_path / "m.vtu"), marked)
    for border, kind, on in (("closed", "11010", "11010"), ("open", "10010", "11011")):
        model = read_model(tmp_path / "m.vtu", Reading(border=border))
        assert model.atoms["kind1"].tolist() == bits(kind).tolist()
        assert model.atoms["on"].tolist() == bits(on).tolist()


def test_a_brains_surface_with_its_maps():
    model = samples.brain()
    assert model.whole.counts == (10_242, 30_720, 20_480)
    assert model.size == 61_442
    assert model.whole.euler == 2
    asked = reproduce.specified(samples.BRAIN, model)
    assert asked.size == 33
    values = Checker(model.frame, model.atoms).values(asked.formulas, list(asked.saves.values()))
    found = dict(zip(asked.saves, values, strict=True))
    assert all(0 < cells.sum() < model.size for cells in found.values())
    # A basin is a union of components of the valleys, those with a deep cell.
    valley = np.where(model.atoms["sulcus"], 0, -1)
    component = model.frame.components(valley)
    deep = np.unique(component[model.atoms["sulcus"] & model.frame.star(model.atoms["deep"])])
    assert (found["basin"] == (np.isin(component, deep) & (valley == 0))).all()


@pytest.mark.parametrize(("border", "adjacency"), [("closed", 26), ("open", 6)])
@pytest.mark.parametrize("shape", [(9, 11), (6, 5, 7)])
def test_floods_on_cut_voxels_are_those_of_adjacent_voxels(tmp_path, border, adjacency, shape):
    """Regions with their borders meet at corners, without them only through faces; in two dimensions alike."""
    labels = np.random.default_rng(1).choice(np.arange(4, dtype=np.uint8), shape, p=[0.2, 0.2, 0.55, 0.05])
    if len(shape) == 3:
        path = tmp_path / "v.nii"
        Volume(labels, (1.0, 1.0, 1.0)).write(path)
    else:
        path, adjacency = tmp_path / "v.png", {26: 8, 6: 4}[adjacency]
        Picture(labels).write(path)
    spec = write(tmp_path / "s.imgql", 'save "touch" touch(ap("safe"),ap("goal"))\n')
    options = {"rules": "safe = value != 2, goal = value = 3", "background": True, "border": border}
    counts = run("polylogica", path, spec, action="compare", adjacency=adjacency, **options)["counts"]
    ((name, voxels, by_voxel, by_cell, differ, dice),) = counts.rows
    assert (name, voxels, differ, dice) == ("touch", labels.size, 0, 1.0)
    assert 0 < by_voxel == by_cell <= np.count_nonzero(labels != 2)
    other = {26: 6, 6: 26, 8: 4, 4: 8}[adjacency]
    assert run("polylogica", path, spec, action="compare", adjacency=other, **options)["counts"].rows[0][4] > 0


def test_a_table_of_the_voxels_where_the_two_semantics_differ(tmp_path):
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[1:4, 1:4, 1:4], labels[2, 2, 2] = 1, 2
    Volume(labels, (1.0, 1.0, 1.0)).write(tmp_path / "v.nii")
    spec = write(tmp_path / "s.imgql", 'save "near" near(ap("label2"))\nsave "self" ap("label1")\n')
    outcome = run("polylogica", tmp_path / "v.nii", spec, action="compare", adjacency=6)
    assert outcome["counts"].rows == [["near", 27, 7, 1, 6, 0.25], ["self", 27, 26, 26, 0, 1.0]]
    # A voxel's neighbours are near it; of its neighbours on the polyhedron only their common faces are.
    assert sorted(row[1:4] for row in outcome["differences"].rows) == sorted(
        (np.array([2, 2, 2]) + step * np.eye(3, dtype=int)[axis]).tolist() for axis in range(3) for step in (-1, 1)
    )


def test_all_cells_inside_a_voxel_agree():
    rng = np.random.default_rng(2)
    kept = rng.random((4, 4, 4)) < 0.7
    whole, owner = cubes(kept)
    assert np.count_nonzero(whole.dimensions == 3) == 6 * kept.sum()
    assert (np.bincount(owner[owner >= 0]) == 13).all()  # six tetrahedra around a diagonal, six triangles between them
    mark = rng.random(int(kept.sum())) < 0.5
    inside = owner >= 0
    atoms = {"p": whole.frame.closure(inside & mark[owner]), "q": rng.random(whole.size) < 0.3}
    atoms["q"] = np.where(inside, mark[owner], atoms["q"])
    formulas = Formulas()
    roots = [reproduce.random_formula(formulas, rng, 4) for _ in range(40)]
    for values in Checker(whole.frame, atoms).values(formulas, roots):
        held = np.zeros((len(mark), 2), bool)
        held[owner[inside], values[inside].astype(int)] = True
        assert not held.all(axis=1).any()


def test_a_folder_of_slices_is_a_volume(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (3, 6, 5), dtype=np.uint8)
    (tmp_path / "stack").mkdir()
    for i, layer in enumerate(labels):
        Picture(layer).write(tmp_path / "stack" / f"{i}.png")
    Volume(labels, (1.0, 1.0, 1.0)).write(tmp_path / "v.nii")
    one, other = read_model(tmp_path / "stack"), read_model(tmp_path / "v.nii")
    assert one.whole.counts == other.whole.counts
    assert all((one.atoms[name] == other.atoms[name]).all() for name in ("label1", "label2"))
    (tmp_path / "stack" / "9.png").unlink(missing_ok=True)
    Picture(labels[0, :2]).write(tmp_path / "stack" / "9.png")
    with pytest.raises(InputError, match="differ in size"):
        read_model(tmp_path / "stack")


@pytest.mark.parametrize("suffix", ["ply", "stl", "vtk", "vtu", "gii", "gii.gz", "nii", "nii.gz", "png", "obj"])
@pytest.mark.parametrize("content", [b"", b"a letter and nothing else\n", bytes(range(256)) * 16])
def test_what_is_no_mesh_is_refused_in_every_format(tmp_path, suffix, content):
    (tmp_path / f"m.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=f"m.{suffix}"):
        read_model(tmp_path / f"m.{suffix}")


# --- posets and minimisation -----------------------------------------------------------------------------------------


def test_posets_by_covers_or_by_all_that_is_above_are_one_and_frames_stay_as_they_are(tmp_path):
    whole = samples.triangle().whole
    upper, lower = whole.frame.pairs()
    just = whole.dimensions[upper] - whole.dimensions[lower] == 1

    def listed(chosen, **more):
        up = [[str(u) for u, w in zip(upper[chosen], lower[chosen], strict=True) if w == i] for i in range(7)]
        points = [{"id": str(i), "atoms": ["red"] if i in (2, 3) else ["blue"], "up": up[i]} for i in range(7)]
        return read_json(write(tmp_path / "p.json", {"points": points, **more}))

    for model in (listed(just), listed(just | True)):
        assert (model.frame.start == whole.frame.start).all()
        assert {n: "".join(map(str, v.astype(int))) for n, v in evaluate(model, SPEC, tmp_path).items()} == ANSWERS
    assert len(listed(just, relation="frame").frame.below) == 9
    loop = {"points": [{"id": "a", "atoms": [], "up": ["b"]}, {"id": "b", "atoms": [], "up": ["a"]}]}
    assert read_json(write(tmp_path / "p.json", loop)).frame.below.tolist() == [1, 0]
    for content, words in (
        ({"points": [{"id": "a", "up": ["b"]}]}, "lies below 'b'"),
        ({"points": [{"id": "a"}, {"id": "a"}]}, "'a' stands twice"),
        ({"points": [{"id": "a", "up": 3}]}, "what is above 'a' is 3"),
        ({"points": []}, "lists no points"),
    ):
        with pytest.raises(InputError, match=words):
            read_json(write(tmp_path / "p.json", content))


def coarsest(frame, atoms, formulas):
    """Split by all formulas of pairs or triples of blocks until nothing changes: slow, and obviously stable."""
    block = np.unique(np.stack(list(atoms.values())), axis=1, return_inverse=True)[1].ravel()
    while True:
        sets = [block == b for b in range(block.max() + 1)]
        finer = np.unique(np.stack([block, *formulas(frame, sets)]), axis=1, return_inverse=True)[1].ravel()
        if finer.max() == block.max():
            return finer
        block = finer


SLOW = {
    "gamma": lambda frame, sets: [frame.through(a, b) for a in sets for b in sets],
    "eta": lambda frame, sets: [(a | u) & frame.through(a | u, b) for a in sets for u in sets for b in sets],
}


@pytest.mark.parametrize("logic", ["gamma", "eta"])
@pytest.mark.parametrize("seed", range(8))
def test_classes_are_the_coarsest_stable_partition(logic, seed):
    rng = np.random.default_rng(seed)
    whole = reproduce.random_complex(rng)
    atoms = reproduce.random_atoms(rng, whole.size)
    found = minimise(whole.frame, atoms, logic)
    slow = coarsest(whole.frame, atoms, SLOW[logic])
    assert len(set(zip(found.classes.tolist(), slow.tolist(), strict=True))) == found.count == slow.max() + 1


def test_the_maze_of_125_rooms_minimised():
    model = samples.white_maze(5)
    found = minimise(model.frame, model.atoms)
    assert 10 < found.count < model.size / 100
    assert minimise(model.frame, model.atoms, "eta").count < found.count
    frame, atoms = found.quotient()
    rng = np.random.default_rng(0)
    formulas = Formulas()
    rename = {"p": "G", "q": "corridor"}
    roots = [reproduce.random_formula(formulas, rng, 5) for _ in range(200)]
    for ours, theirs in zip(
        Checker(model.frame, {p: model.atoms[a] for p, a in rename.items()}).values(formulas, roots),
        Checker(frame, {p: atoms[a] for p, a in rename.items()}).values(formulas, roots),
        strict=True,
    ):
        assert (ours == theirs[found.classes]).all()


@pytest.mark.parametrize("seed", range(6))
def test_written_formulas_tell_any_two_classes_apart_and_describe_each(tmp_path, seed):
    rng = np.random.default_rng(seed)
    whole = reproduce.random_complex(rng)
    atoms = reproduce.random_atoms(rng, whole.size)
    found = minimise(whole.frame, atoms)
    formulas = Formulas()
    separator = Separator(found, formulas)
    firsts = found.first.tolist()
    saves = {f"{a} not {b}": separator.formula(a, b) for a, b in itertools.permutations(firsts, 2)}
    saves |= {f"class of {a}": separator.describe(a) for a in firsts}
    assert separator.formula(firsts[0], firsts[0]) is None
    asked = read_specification(write(tmp_path / "s.imgql", write_specification(formulas, saves)), atoms)
    values = dict(zip(asked.saves, Checker(whole.frame, atoms).values(asked.formulas, list(asked.saves.values())), strict=True))
    for a, b in itertools.permutations(firsts, 2):
        assert values[f"{a} not {b}"][a]
        assert not values[f"{a} not {b}"][b]
    for a in firsts:
        assert (values[f"class of {a}"] == (found.classes == found.classes[a])).all()


def test_minimise_writes_classes_a_quotient_that_checks_and_a_formula(tmp_path):
    model = write(tmp_path / "m.json", triangle_json())
    (outcome,) = [run("polylogica", model, action="minimise", apart="s0,s4")]
    count = outcome["report"].values["classes"]
    assert [int(v.sum()) for v in outcome["classes"].values.values()] == [2, 1, 1, 3]  # the two blue ends, the red edge ...
    assert count == 4
    outcome.save(tmp_path / "out")
    quotient = tmp_path / "out" / "m_quotient.json"
    spec = write(tmp_path / "s.imgql", SPEC)
    small = run("polylogica", quotient, spec)["result"].values
    member = np.array([k for _, k in outcome["members"].rows])
    for name, answer in ANSWERS.items():
        assert small[name][member].tolist() == bits(answer).tolist()
    apart = run("polylogica", model, tmp_path / "out" / "m_apart.imgql")["result"].values["s0 not s4"]
    assert (bool(apart[0]), bool(apart[4])) == (True, False)
    with pytest.raises(InputError, match="no cell of the model"):
        run("polylogica", model, action="minimise", apart="s0,s99")


def test_embedded_samples_are_written_and_check(tmp_path):
    for name in ("triangle", "maze"):
        run("polylogica", action="sample", name=name).save(tmp_path / name)
        outcome = run("polylogica", tmp_path / name / "polylogica_model.json", tmp_path / name / "polylogica_spec.imgql")
        assert any(cells.any() for cells in outcome["result"].values.values())
    with pytest.raises(InputError):
        run("polylogica", tmp_path / "maze" / "polylogica_model.json", tmp_path / "nothing.imgql")


def test_what_is_closed_of_nothing_is_refused():
    with pytest.raises(InputError, match="no simplices"):
        closed(np.zeros((0, 3)), [np.empty((0, 1))])
