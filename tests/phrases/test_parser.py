"""Sentences with hand-written tuples: one block for each rule and each repair."""

from __future__ import annotations

import pytest

from tests.phrases.gold import FILES, score, sentences
from vlp.errors import ConfigError
from vlp.phrases.parser import SceneGraphParser, model_name

CASES: dict[str, list[tuple[str, str]]] = {
    "adjectives": [
        ("a young man", "man young"),
        ("a red and white shirt", "shirt red; shirt white"),
        ("three small dogs", "dog three; dog small"),
        ("a parked car", "car park"),
        ("a little pink moon", "moon little; moon pink"),
        ("a boy in a striped shirt", "boy|in|shirt; shirt striped"),
    ],
    "numerals and quantities": [
        ("two men", "man two"),
        ("a lot of people", "people a"),
        ("a couple of dogs run on the grass", "dog a; dog|run on|grass"),
        ("dozens of birds", "bird dozen"),
        ("lots of snow", ""),
        ("the pair of scissors", "pair|of|scissors"),
        ("two of the men wear hats", "man two; man|wear|hat"),
        ("a group of people", "group|of|people"),
        ("a herd of sheep in a field", "herd|of|sheep; sheep|in|field"),
    ],
    "compounds": [
        ("a tennis court", "court tennis"),
        ("a girl on a tennis court", "girl|on|court; court tennis"),
        ("a baseball player swings a bat", "player baseball; player|swing|bat"),
    ],
    "questions": [
        ("what color is the square?", "color what"),
        ("which shape is left of the star?", "shape which; shape|left of|star"),
        ("is there a star to the right of the ring?", "star|to the right of|ring"),
        ("is a red circle above a star?", "circle red; circle|above|star"),
        ("how many people are riding bikes?", "people many; people|ride|bike"),
        ("does the man have a hat?", "man|have|hat"),
    ],
    "copulas": [
        ("the man is tall", "man tall"),
        ("the man is a rider", "man rider"),
        ("is there a pink cross?", "cross pink"),
        ("is the diamond red?", "diamond red"),
        ("the small moon is dotted", "moon small; moon dotted"),
        (
            "a large red circle is above a small blue star",
            "circle large; circle red; circle|above|star; star small; star blue",
        ),
        ("the star is bigger than the cross", "star|bigger than|cross"),
        ("there are three cats on the table", "cat three; cat|on|table"),
        ("an arrow and a moon are next to a ring", "arrow|next to|ring; moon|next to|ring"),
    ],
    "verbs": [
        ("a man riding a wave", "man|ride|wave"),
        ("a man rides his horse", "man|ride|horse; man|have|horse"),
        ("two men are sitting on a bench", "man two; man|sit on|bench"),
        ("a boy is running", "boy run"),
        ("a woman hitting a ball", "woman|hit|ball"),
        ("a man looks happy", "man look; man happy"),
        ("three dogs are playing together by fences", "dog three; dog|play by|fence"),
        ("a woman walks away from a bus", "woman|walk away from|bus"),
        ("a woman biking in the park", "woman|bike in|park"),
        ("a girl picks up a ball", "girl|pick up|ball"),
        ("a dog is trying to catch a ball", "dog try"),
        ("a man gets up to catch a ball", "man get"),
        ("a man sits on a bench while reading a book", "man|sit on|bench"),
    ],
    "conjunctions": [
        ("a dog is running and hitting a ball", "dog run; dog|hit|ball"),
        ("a woman wears a hat and a shirt", "woman|wear|hat; woman|wear|shirt"),
        ("a woman wearing a hat and shirt", "woman|wear|hat; woman|wear|shirt"),
        ("a boy and a girl are on a swing", "boy|on|swing; girl|on|swing"),
        ("a ring, a yellow star and a green cross", "star yellow; cross green"),
    ],
    "passives": [
        ("the dog is being chased by a cat", "cat|chase|dog"),
        ("a ball hit by a man", "ball|hit by|man"),
        ("a cat is seated on a chair", ""),
        ("a cake with a piece cut out", "cake|with|piece"),
    ],
    "relative clauses": [
        ("a man who is wearing a shirt", "man|wear|shirt"),
        ("a man who wears a hat is standing next to a dog", "man|wear|hat; man|stand next to|dog"),
        ("the horse that the man is riding is brown", "man|ride|horse; horse brown"),
    ],
    "possessives": [
        ("the man's red hat", "man|have|hat; hat red"),
        ("a woman and her dog", "woman|have|dog"),
        ("a surfer on their board", "surfer|on|board; surfer|have|board"),
        ("a dog shakes its head", "dog|shake|head; dog|have|head"),
    ],
    "prepositions": [
        ("man in shirt", "man|in|shirt"),
        ("a cup on top of a table", "cup|on top of|table"),
        ("two striped squares to the left of a ring", "square two; square striped; square|to the left of|ring"),
        ("a star on the left side of a circle", "star|on the left side of|circle"),
        ("a girl standing in front of a house", "girl|stand in front of|house"),
        ("a dog jumps out of the water", "dog|jump out of|water"),
        ("a bowl full of fruit", "bowl full"),
    ],
    "repairs": [
        ("A white dog leaps through dried cattails .", "dog white; dog|leap through|cattail; cattail dry"),
        ("a man stares intently at his cellphone", "man|stare at|cellphone; man|have|cellphone"),
        ("two dogs meeting near a pond", "dog two; dog|meet near|pond"),
        ("a pentagon is under a tiny purple cross", "pentagon|under|cross; cross tiny; cross purple"),
        ("there is the pink arrow right of the pink block", "arrow pink; arrow|right of|block; block pink"),
        ("a ring left of a cross", "ring|left of|cross"),
        ("a small star sits left of a ring", "star small; star|left of|ring; star sit"),
        (
            "a child in a black shirt standing on a wooden dock near a picnic table .",
            "child|in|shirt; shirt black; child|stand on|dock; dock wooden; child|stand near|table; table picnic",
        ),
        ("a man in a shirt and jeans", "man|in|shirt; man|in|jeans"),
        ("a drawing of a moon to the left of a star", "drawing|of|moon; moon|to the left of|star"),
        ("man holding stick", "man|hold|stick"),
        ("a man on a surfboard riding a wave", "man|on|surfboard; man|ride|wave"),
        ("two white teddy bears", "bear two; bear white; bear teddy"),
        ("a fire hydrant on a street corner", "hydrant fire; hydrant|on|corner; corner street"),
        ("a white refrigerator and brown cabinets", "refrigerator white; cabinet brown"),
        ("a yellow school bus", "bus yellow; bus school"),
        ("a red truck driving down a street", "truck red; truck|drive down|street"),
        (
            "a black schnauzer with a toy in it's mouth",
            "schnauzer black; schnauzer|with|toy; toy|in|mouth; toy|have|mouth",
        ),
        ("a cat on a bed in a room near a window", "cat|on|bed; bed|in|room; bed|near|window"),
        ("a man sits on a couch with a laptop", "man|sit on|couch; couch|with|laptop"),
        ("a man stands on a beach with a child", "man|stand on|beach; man|stand with|child"),
        ("a man walking through the snow with poles", "man|walk through|snow; snow|with|pole"),
        ("a boy puts a pizza in the oven", "boy|put|pizza; boy|put in|oven"),
        ("a girl riding a horse in a field", "girl|ride|horse; horse|in|field"),
        ("a woman plays tennis on a court", "woman|play|tennis; woman|play on|court"),
        ("a cat sits on a bed next to a lamp", "cat|sit on|bed; bed|next to|lamp"),
        ("a cup and a spoon on a tray", "cup|on|tray"),
        ("a room with a bed and a table in a corner", "room|with|bed; room|with|table; bed|in|corner"),
        ("a herd of cows mill about in a field", "herd|of|cow; cow mill; herd|in|field"),
        ("a girl sits on a bench in a dress", "girl|sit on|bench; girl|sit in|dress"),
        ("a dog holding a toy in its mouth", "dog|hold|toy; toy|in|mouth; dog|have|mouth"),
        ("a person in a kitchen preparing food", "person|in|kitchen; person|prepare|food"),
        (
            "a kitchen with a white refrigerator and wood cabinets",
            "kitchen|with|refrigerator; kitchen|with|cabinet; refrigerator white; cabinet wood",
        ),
        ("two people on a beach flying kites", "people two; people|on|beach; people|fly|kite"),
        ("two women walking down a path holding umbrellas", "woman two; woman|walk down|path; woman|hold|umbrella"),
        ("a zebra standing still in the grass", "zebra|stand in|grass"),
        ("people riding on elephants crossing water", "people|ride on|elephant; elephant|cross|water"),
        (
            "a man and woman smile and play a video game",
            "man smile; woman smile; man|play|game; woman|play|game; game video",
        ),
        ("large umbrellas line the sidewalk", "umbrella large; umbrella|line|sidewalk"),
        ("a dog on a persons legs", "dog|on|leg; person|have|leg"),
        (
            "a wood fire stone oven with logs at the bottom",
            "oven wood; oven fire; oven stone; oven|with|log; log|at|bottom",
        ),
        ("a pair of glass vases", "vase a; vase glass"),
        ("a person holds a remote as a dog lays in their lap", "person|hold|remote; person|have|lap"),
        ("a red light in a n intersection", "light red; light|in|intersection"),
    ],
    "words": [
        ("a man in a t-shirt and jeans", "man|in|t-shirt; man|in|jeans"),
        ("Two People Riding A Bike", "people two; people|ride|bike"),
        ("", ""),
        ("hello", ""),
        ("a dog", ""),
    ],
}


@pytest.mark.parametrize(("text", "tuples"), [c for cases in CASES.values() for c in cases])
def test_a_sentence_gives_its_tuples(parser: SceneGraphParser, text: str, tuples: str) -> None:
    wanted = {tuple(t.strip().split("|")) if "|" in t else tuple(t.split()) for t in tuples.split(";") if t.strip()}
    assert {p.parts for p in parser.parse(text).phrases()} == wanted


FLOORS = {"frozen": (0.95, 0.93), "tuned": (0.97, 0.95)}
"""Least precision and recall: a rule change that loses sentences must say so here.

Three of the frozen sentences name a quantity by its noun (bird, lot), not as SPICE does (bird, a): 0.033 of each. Two
more want `a wave in the ocean` to be where one rides, and a plate under both a knife and a fork."""


@pytest.mark.parametrize("name", FILES)
def test_hand_checked_sentences(parser: SceneGraphParser, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = score(parser, name)
    with capsys.disabled():
        counts = f"{len(sentences(name))} sentences, {found.right} of {found.wanted} tuples"
        print(f"\n{name}: {counts}, precision {found.precision:.3f}, recall {found.recall:.3f}")
    precision, recall = FLOORS[name]
    assert found.precision >= precision and found.recall >= recall, "\n".join(found.wrong)


def test_every_rule_and_enough_sentences_are_covered() -> None:
    assert sum(len(sentences(name)) for name in FILES) >= 120
    assert len(sentences("frozen")) >= 60
    texts = [text for name in FILES for _, text, _ in sentences(name)]
    assert len(set(texts)) == len(texts)
    assert {r for r, *_ in sentences("frozen")} == {r for r, *_ in sentences("tuned")}


def test_words_are_the_characters_the_tuple_is_made_of(parser: SceneGraphParser) -> None:
    text = "A Young man rides  on top of his   horse"
    found = {p.parts: [text[a:b] for a, b in p.words] for p in parser.parse(text).phrases()}
    assert found[("man", "young")] == ["Young", "man"]
    assert found[("man", "ride on top of", "horse")] == ["man", "rides", "on", "top", "of", "horse"]
    assert found[("man", "have", "horse")] == ["man", "his", "horse"]


def test_tuples_are_distinct_and_in_text_order(parser: SceneGraphParser) -> None:
    phrases = parser.parse("a red star and a red star are above a blue ring").phrases()
    assert len({p.parts for p in phrases}) == len(phrases)
    assert [p.words for p in phrases] == sorted(p.words for p in phrases)
    assert phrases[0].words == ((2, 5), (6, 10))  # the first of the two red stars


def test_the_graph_names_every_thing_once(parser: SceneGraphParser) -> None:
    graph = parser.parse("a lot of people on a tennis court to the left of a tree")
    assert [t.lemma for t in graph.things] == ["people", "court", "tree"]


def test_lower_case_keeps_places(parser: SceneGraphParser) -> None:
    text = "İn a RED car"  # lower-casing this İ makes two characters of it
    assert [text[a:b] for a, b in parser.parse(text).phrases()[0].words] == ["RED", "car"]


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ConfigError, match=r"phrases\.parser.*xx_none"):
        model_name("xx_none")
    assert model_name("en_core_web_sm").startswith("en_core_web_sm")
