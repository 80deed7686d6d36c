"""Reading replies: two block kinds, one error type, whatever a model writes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reply_blocks import BASE, edit
from speedrun.stages.generate.reply import (
    MEMO_CHARS,
    SOLUTION_CHARS,
    ReplyError,
    check_names,
    check_solution,
    parse,
    read_memo,
    read_reply,
    render_file,
)


def test_a_whole_file_replaces_and_others_stay() -> None:
    reply = "Here it is.\n\n### FILE: train.py\n```python\nx = 1\n```\nHope it helps.\n"
    assert read_reply(reply, BASE) == {"train.py": "x = 1\n", "model.py": "d = 4\n"}


ANSWER = "### FILE: train.py\n```\nx = 1\n```\n"
THOUGHT = "I could try\n### FILE: model.py\n```\nd = 0\n```\n### MEMO\nnever\n"


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>{THOUGHT}</think>{ANSWER}",
        f"\n<think>\r\n{THOUGHT}</think>\r\n\r\n{ANSWER}",
        f"{THOUGHT}</think>\n\n{ANSWER}",  # the template had opened it
        f"{ANSWER}It says <think>.\n</think>\n",  # no thought of its own
        ANSWER,
    ],
)
def test_what_is_thought_first_is_not_read(reply: str) -> None:
    assert read_reply(reply, BASE) == {"train.py": "x = 1\n", "model.py": "d = 4\n"}
    assert read_memo(reply) == ""


def test_a_thought_that_never_ends_is_no_answer() -> None:
    with pytest.raises(ReplyError, match="empty but for its thinking"):
        parse(f"<think>{THOUGHT}{ANSWER}")


def test_edits_of_several_files_apply_in_order() -> None:
    reply = (
        edit("b = 2\n", "b = 20\n")
        + edit("b = 20\nc = 3\n", "")
        + edit("d = 4\n", "d = 5\n", "model.py")
    )
    assert read_reply(reply, BASE) == {
        "train.py": "a = 1\n\ndef f():\n    return a\n",
        "model.py": "d = 5\n",
    }


def test_several_blocks_under_one_heading_and_inside_a_fence() -> None:
    blocks = (
        "<<<<<<< SEARCH\na = 1\n=======\na = 7\n>>>>>>> REPLACE\nand\n"
        "<<<<<<< SEARCH\nc = 3\n=======\nc = 9\n>>>>>>> REPLACE\n"
    )
    reply = f"### EDIT: `train.py`\n```\n{blocks}```\n"
    assert read_reply(reply, BASE)["train.py"].startswith("a = 7\nb = 2\nc = 9\n")


def test_a_new_file_in_a_folder_and_windows_line_ends() -> None:
    reply = "### FILE: layers/norm.py\r\n```\r\nEPS = 1\r\n```\r\n"
    assert read_reply(reply, BASE)["layers/norm.py"] == "EPS = 1\n"


def test_names_like_the_reserved_ones_are_free() -> None:
    names = ["data.py", "layers/data", "my_data/x.py"]
    reply = "".join(f"### FILE: {name}\n```\n```\n" for name in names)
    assert read_reply(reply, BASE) == {**BASE, **dict.fromkeys(names, "")}


def test_headings_inside_blocks_are_content() -> None:
    text = "# ```\n### EDIT: model.py\n```\n"
    assert read_reply(render_file("train.py", text), BASE)["train.py"] == text


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "the reply is empty"),
        (" \n\t\n", "the reply is empty"),
        ("I cannot do that.", "holds no `### FILE"),
        ("### MEMO\nMuon next.\n", "holds no `### FILE"),
        ("```python\nx = 1\n```", "holds no `### FILE"),
        ("### FILE: train.py\n```\nx = 1\n", "never closed"),
        ("### FILE: train.py\nx = 1\n", "not followed by a fenced block"),
        ("### FILE: train.py", "not followed by a fenced block"),
        ("### EDIT: train.py\njust do it\n", "not followed by a <<<<<<< SEARCH block"),
        ("### EDIT: train.py\n<<<<<<< SEARCH\na = 1\n", "no line '======='"),
        ("### EDIT: train.py\n<<<<<<< SEARCH\na = 1\n=======\n", "no line '>>>>>>> REPLACE'"),
        (edit("", "x = 1\n"), "block 1 (train.py): SEARCH is empty"),
        (edit("a = 2\n", "x"), "no line '>>>>>>> REPLACE'"),
        (edit("a = 2\n", "x\n"), "block 1 (train.py): SEARCH must match"),
        (
            edit("a = 1\n", "b = 2\n") + edit("b = 2\n", "x\n"),
            "block 2 (train.py): SEARCH must match",
        ),
        (edit("a =\n", "x\n"), "matches 0 times"),
        (render_file("train.py", "x\nx\nx\n") + edit("x\nx\n", "y\n"), "more than once"),
        (edit("a = 1\n", "x\n", "lost.py"), "there is no such file; there are: model.py, train.py"),
        ("### FILE: ../train.py\n```\n```\n", "no file name inside the solution"),
        ("### FILE: /etc/passwd\n```\n```\n", "no file name inside the solution"),
        ("### FILE: a/../../b\n```\n```\n", "no file name inside the solution"),
        ("### FILE: .\n```\n```\n", "no file name inside the solution"),
        ("### FILE: \n```\n```\n", "no file name inside the solution"),
        ("### FILE: //etc/passwd\n```\n```\n", "no file name inside the solution"),
        ("### FILE: ~/.ssh/config\n```\n```\n", "no file name inside the solution"),
        ("### FILE: train.py -> /etc/passwd\n```\n```\n", "no file name inside the solution"),
        ("### FILE: C:\\x.py\n```\n```\n", "no file name inside the solution"),
        (edit("a = 1\n", "b\n", "../../train.py"), "no file name inside the solution"),
        ("### FILE: data\n```\n```\n", "data cannot be part of the solution: data/ is provided"),
        ("### FILE: ./data/a.py\n```\n```\n", "data/a.py cannot be part of the solution"),
        (edit("a\n", "b\n", "data/a.py"), "data/a.py cannot be part of the solution"),
        ("### FILE: probe_logits.npy\n```\n```\n", "probe_logits.npy is written by it"),
        ("### FILE: a\tb\n```\n```\n", "no file name inside the solution"),
        ("### FILE: " + "ü" * 150 + "\n```\n```\n", "no file name inside the solution"),
        ("### FILE: train.py/x\n```\n```\n", "train.py cannot be both a file and a folder"),
        ("### FILE: x\n```\na\ud800\n```\n", "not valid Unicode"),
        (edit("a = 1\n", "\0\n"), "NUL"),
    ],
)
def test_what_cannot_be_used_says_why(reply: str, reason: str) -> None:
    with pytest.raises(ReplyError) as error:
        read_reply(reply, BASE)
    assert reason in str(error.value)


lines = st.sampled_from(
    [
        "### FILE: train.py",
        "### EDIT: train.py",
        "### EDIT: model.py",
        "### FILE: a/b.py",
        "<<<<<<< SEARCH",
        "=======",
        ">>>>>>> REPLACE",
        "```",
        "````python",
        "a = 1",
        "b = 2",
        "",
        "### FILE: ../x",
        "text",
    ]
)


@settings(deadline=None)
@given(st.lists(lines, max_size=25).map("\n".join) | st.text(st.characters(), max_size=200))
def test_any_reply_gives_writable_files_or_a_reply_error(reply: str) -> None:
    try:
        solution = read_reply(reply, BASE)
    except ReplyError as error:
        assert str(error)
    else:
        assert set(solution) >= set(BASE)
        assert all(text.encode("utf-8") is not None for text in solution.values())


texts = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=300)


@settings(deadline=None)
@given(texts | st.lists(lines).map("\n".join))
def test_a_rendered_file_is_read_back(text: str) -> None:
    expected = text if text.endswith("\n") or not text else text + "\n"
    [change] = parse(f"Thoughts first.\n{render_file('a/b.py', text)}The end.\n")
    assert (change.path, change.text) == ("a/b.py", expected)  # type: ignore[union-attr]


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), unique=True, min_size=2, max_size=20), st.data())
def test_an_edit_changes_the_one_place_it_names(numbers: list[int], data: st.DataObject) -> None:
    rows = [f"x{number} = {number}" for number in numbers]
    place = data.draw(st.integers(0, len(rows) - 1))
    result = read_reply(edit(rows[place] + "\n", "new\n"), {"train.py": "\n".join(rows)})
    assert result["train.py"].split("\n") == [*rows[:place], "new", *rows[place + 1 :]]


def test_a_memo_is_read_apart_from_the_blocks() -> None:
    block = edit("a = 1\n", "a = 9\n")
    reply = f"### MEMO\nFirst.\n{block}Bye.\n### MEMO:\nThen *this*.\n"
    assert read_memo(reply) == "First.\nThen *this*."
    assert read_reply(reply, BASE)["train.py"].startswith("a = 9\n")
    assert read_memo("### FILE: x\n```\n### MEMO\nno memo\n```\n") == ""
    long = read_memo("### MEMO\n" + "m" * 10**5 + "\ud800\n")
    assert len(long) < MEMO_CHARS + 100 and long.encode()


def test_removed_lines_take_their_line_ends_along() -> None:
    text = {"t": "1\n2\n3"}
    for search, left in (("1", "2\n3"), ("2", "1\n3"), ("3", "1\n2"), ("1\n2\n3", "")):
        assert read_reply(edit(search + "\n", "", "t"), text) == {"t": left}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=8),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
    st.lists(st.sampled_from("xyz"), max_size=3),
)
def test_edits_are_of_whole_lines_and_of_one_place(
    lines: list[str], search: list[str], replace: list[str]
) -> None:
    """The same as comparing the lines one by one, which is how the rule reads."""
    size = len(search)
    found = [i for i in range(len(lines) - size + 1) if lines[i : i + size] == search]
    block = edit("".join(x + "\n" for x in search), "".join(x + "\n" for x in replace), "t")
    if len(found) == 1:
        expected = lines[: found[0]] + replace + lines[found[0] + size :]
        assert read_reply(block, {"t": "\n".join(lines)}) == {"t": "\n".join(expected)}
    else:
        with pytest.raises(ReplyError, match="0 times" if not found else "more than once"):
            read_reply(block, {"t": "\n".join(lines)})


def test_any_solution_is_held_to_the_names_of_a_reply() -> None:
    check_names(["train.py", "a/b.py"])
    for names in (
        ["../x"],
        ["/x"],
        ["data/x"],
        ["a", "a/b"],
        [""],
        [f"{i}.py" for i in range(999)],
    ):
        with pytest.raises(ReplyError):
            check_names(names)


def test_a_solution_can_be_shown_again() -> None:
    large = {"train.py": "x" * SOLUTION_CHARS}
    check_solution(large)
    with pytest.raises(ReplyError, match=f"more than {SOLUTION_CHARS}"):
        check_solution({**large, "b.py": "x"})
    with pytest.raises(ReplyError, match=f"more than {SOLUTION_CHARS}"):
        read_reply(render_file("b.py", "x"), large)
