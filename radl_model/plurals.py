"""The singular of an English noun, for class names and the phrases that name them: one rule for all readers."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


_IRREGULAR = dict(
    pair.split("/")
    for pair in _words(
        "people/person persons/person men/man women/woman children/child mice/mouse geese/goose teeth/tooth feet/foot "
        "oxen/ox cacti/cactus octopi/octopus fungi/fungus dice/die quizzes/quiz axes/axe menus/menu emus/emu gnus/gnu "
        "taxis/taxi waltzes/waltz "
        "knives/knife wives/wife lives/life leaves/leaf wolves/wolf shelves/shelf scarves/scarf halves/half "
        "calves/calf loaves/loaf thieves/thief hooves/hoof elves/elf selves/self dwarves/dwarf wharves/wharf "
        "sheaves/sheaf "
        "buses/bus gases/gas lenses/lens irises/iris canvases/canvas atlases/atlas pancreases/pancreas aliases/alias "
        "biases/bias rhinoceroses/rhinoceros albatrosses/albatross"
    )
)

_STAYS = frozenset(
    _words(
        "bus gas lens iris canvas atlas bias alias tennis chess scissors skis pants jeans shorts trousers sunglasses "
        "goggles pliers tweezers binoculars headquarters series species news chassis debris cosmos thermos rhinoceros "
        "asbestos chaos molasses texas christmas"
    )
)
"""Words that end in s and are singular, or have no singular (COCO's own classes are called "scissors" and "skis")."""

_KEEP_E = frozenset(
    _words(
        "ache headache toothache avalanche cache quiche brioche moustache mustache creche psyche cliche "
        "shoe horseshoe snowshoe toe tiptoe hoe canoe oboe foe doe aloe floe roe woe throe "
        "house greenhouse lighthouse doghouse birdhouse warehouse mouse blouse spouse louse grouse cause clause pause "
        "use fuse muse excuse ruse recluse axe "
        "cookie movie brownie hoodie zombie smoothie selfie genie collie magpie pixie rookie prairie birdie beanie "
        "goalie bogie veggie hippie budgie walkie talkie tie necktie bowtie pie lie die cutie doggie kiddie lassie "
        "calorie groupie foodie newbie pinkie townie boogie caddie cabbie oldie indie sortie dearie"
    )
)
"""Words in -e whose plural ends like that of words without it or in -y: houses, cookies."""


def singular(word: str) -> str:
    """Return the singular of a lower-case noun: "toothbrushes" -> "toothbrush"; a singular stays as it is."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("men") and len(word) > 3:  # firemen, snowmen
        return word[:-2] + "an"
    if word in _STAYS or not word.endswith("s") or word.endswith(("ss", "us")) or len(word) < 3:
        return word
    if word[:-1] in _KEEP_E:
        return word[:-1]
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("oes", "ches", "uses", "shes", "sses", "xes", "zzes")) else word[:-1]
