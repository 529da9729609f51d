from api.openai.chat.stream import _data


def test_a_chunk_is_one_line_for_every_client() -> None:
    frame = _data({"content": "a\u2028b\x85c\u2029d\ne"}).decode()
    assert frame.splitlines() == ['data: {"content":"a\\u2028b\\u0085c\\u2029d\\ne"}', ""]
