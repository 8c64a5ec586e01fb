"""Groups of movies that people expect next to each other, and how many of them are neighbors.

Two measures of "movies like this one" that need no users: franchises, found by their titles, and
series or makers whose titles share no word. Titles also feed the vectors, so franchises alone would
be circular; words of titles cannot help a series.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from recsys.vectors.titles import franchise_stem, main_title

FRANCHISE_NEIGHBORS: Final = 10
SERIES_NEIGHBORS: Final = 20
_LEAST_RATINGS: Final = 10
_FRANCHISE_SIZE: Final = (2, 12)
_LEAST_FAMILIES: Final = 5
_MOST_FAMILIES: Final = 500

Families = list[NDArray[np.int64]]

SERIES: Final[Mapping[str, tuple[tuple[int, str], ...]]] = {
    "James Bond": (
        (1962, "Dr. No"), (1963, "From Russia with Love"), (1964, "Goldfinger"),
        (1965, "Thunderball"), (1967, "You Only Live Twice"),
        (1969, "On Her Majesty's Secret Service"), (1971, "Diamonds Are Forever"),
        (1974, "Man with the Golden Gun"), (1977, "Spy Who Loved Me"), (1979, "Moonraker"),
        (1983, "Octopussy"), (1985, "View to a Kill"), (1995, "GoldenEye"),
        (1997, "Tomorrow Never Dies"), (1999, "World Is Not Enough"), (2006, "Casino Royale"),
        (2008, "Quantum of Solace"), (2012, "Skyfall"), (2015, "Spectre"),
    ),
    "Sergio Leone": (
        (1965, "For a Few Dollars More"), (1966, "Good, the Bad and the Ugly"),
        (1968, "Once Upon a Time in the West"), (1971, "Duck, You Sucker"),
    ),
    "Studio Ghibli": (
        (1984, "Nausicaä of the Valley of the Wind"), (1988, "My Neighbor Totoro"),
        (1988, "Grave of the Fireflies"), (1989, "Kiki's Delivery Service"), (1992, "Porco Rosso"),
        (1995, "Whisper of the Heart"), (1997, "Princess Mononoke"), (2001, "Spirited Away"),
        (2004, "Howl's Moving Castle"), (2008, "Ponyo"),
    ),
    "Pixar": (
        (1995, "Toy Story"), (1998, "Bug's Life"), (2001, "Monsters, Inc."), (2003, "Finding Nemo"),
        (2004, "Incredibles"), (2006, "Cars"), (2007, "Ratatouille"), (2008, "WALL·E"),
        (2009, "Up"), (2012, "Brave"), (2015, "Inside Out"), (2017, "Coco"),
    ),
    "Alfred Hitchcock": (
        (1938, "Lady Vanishes"), (1940, "Rebecca"), (1943, "Shadow of a Doubt"),
        (1946, "Notorious"), (1948, "Rope"), (1951, "Strangers on a Train"), (1954, "Rear Window"),
        (1954, "Dial M for Murder"), (1955, "To Catch a Thief"), (1958, "Vertigo"),
        (1959, "North by Northwest"), (1960, "Psycho"), (1963, "Birds"),
    ),
    "Joel and Ethan Coen": (
        (1984, "Blood Simple"), (1987, "Raising Arizona"), (1990, "Miller's Crossing"),
        (1991, "Barton Fink"), (1994, "Hudsucker Proxy"), (1996, "Fargo"), (1998, "Big Lebowski"),
        (2000, "O Brother, Where Art Thou?"), (2001, "Man Who Wasn't There"),
        (2007, "No Country for Old Men"), (2008, "Burn After Reading"), (2010, "True Grit"),
    ),
    "Stanley Kubrick": (
        (1957, "Paths of Glory"), (1962, "Lolita"),
        (1964, "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb"),
        (1968, "2001: A Space Odyssey"), (1971, "Clockwork Orange"), (1975, "Barry Lyndon"),
        (1980, "Shining"), (1987, "Full Metal Jacket"), (1999, "Eyes Wide Shut"),
    ),
    "Disney, 1989 to 1999": (
        (1989, "Little Mermaid"), (1991, "Beauty and the Beast"), (1992, "Aladdin"),
        (1994, "Lion King"), (1995, "Pocahontas"), (1996, "Hunchback of Notre Dame"),
        (1997, "Hercules"), (1998, "Mulan"), (1999, "Tarzan"),
    ),
    "Disney, 1937 to 1967": (
        (1937, "Snow White and the Seven Dwarfs"), (1940, "Pinocchio"), (1940, "Fantasia"),
        (1941, "Dumbo"), (1942, "Bambi"), (1950, "Cinderella"), (1951, "Alice in Wonderland"),
        (1953, "Peter Pan"), (1955, "Lady and the Tramp"), (1959, "Sleeping Beauty"),
        (1967, "Jungle Book"),
    ),
    "Quentin Tarantino": (
        (1992, "Reservoir Dogs"), (1994, "Pulp Fiction"), (1997, "Jackie Brown"),
        (2003, "Kill Bill: Vol. 1"), (2007, "Death Proof"), (2009, "Inglourious Basterds"),
        (2012, "Django Unchained"), (2015, "Hateful Eight"),
    ),
    "Akira Kurosawa": (
        (1950, "Rashomon"), (1952, "Ikiru"), (1954, "Seven Samurai"), (1957, "Throne of Blood"),
        (1958, "Hidden Fortress"), (1961, "Yojimbo"), (1962, "Sanjuro"), (1980, "Kagemusha"),
        (1985, "Ran"),
    ),
    "Wes Anderson": (
        (1996, "Bottle Rocket"), (1998, "Rushmore"), (2001, "Royal Tenenbaums"),
        (2004, "Life Aquatic with Steve Zissou"), (2007, "Darjeeling Limited"),
        (2009, "Fantastic Mr. Fox"), (2012, "Moonrise Kingdom"), (2014, "Grand Budapest Hotel"),
    ),
    "Woody Allen": (
        (1971, "Bananas"), (1973, "Sleeper"), (1975, "Love and Death"), (1977, "Annie Hall"),
        (1979, "Manhattan"), (1983, "Zelig"), (1985, "Purple Rose of Cairo"),
        (1986, "Hannah and Her Sisters"), (1989, "Crimes and Misdemeanors"),
        (1994, "Bullets Over Broadway"), (1995, "Mighty Aphrodite"),
    ),
    "David Lynch": (
        (1977, "Eraserhead"), (1980, "Elephant Man"), (1986, "Blue Velvet"),
        (1990, "Wild at Heart"), (1997, "Lost Highway"), (2001, "Mulholland Drive"),
    ),
    "Marvel Cinematic Universe": (
        (2008, "Iron Man"), (2008, "Incredible Hulk"), (2011, "Thor"),
        (2011, "Captain America: The First Avenger"), (2012, "Avengers"),
        (2014, "Guardians of the Galaxy"), (2016, "Doctor Strange"), (2018, "Black Panther"),
    ),
    "Kevin Smith": (
        (1994, "Clerks"), (1995, "Mallrats"), (1997, "Chasing Amy"), (1999, "Dogma"),
        (2001, "Jay and Silent Bob Strike Back"),
    ),
    "John Hughes": (
        (1984, "Sixteen Candles"), (1985, "Breakfast Club"), (1985, "Weird Science"),
        (1986, "Ferris Bueller's Day Off"), (1986, "Pretty in Pink"),
    ),
    "Edgar Wright": (
        (2004, "Shaun of the Dead"), (2007, "Hot Fuzz"), (2010, "Scott Pilgrim vs. the World"),
    ),
    "Ingmar Bergman": (
        (1957, "Seventh Seal"), (1957, "Wild Strawberries"), (1960, "Virgin Spring"),
        (1966, "Persona"), (1972, "Cries and Whispers"), (1982, "Fanny and Alexander"),
    ),
    "Federico Fellini": (
        (1954, "Strada"), (1957, "Nights of Cabiria"), (1960, "Dolce Vita"), (1963, "8 1/2"),
        (1973, "Amarcord"),
    ),
}  # fmt: skip
"""Year and title (without article) of movies of one series or maker, from public knowledge."""


class FamilyRecall(BaseModel):
    """How much of a movie's family is among its nearest movies.

    Attributes:
        families: measured families.
        movies: movies of them.
        neighbors: number of nearest movies searched.
        recall: mean over the movies of the share of the other members that is found; of a family
            with more other members than ``neighbors``, that many are a share of 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    families: int
    movies: int
    neighbors: int
    recall: float


def find_franchises(titles: Sequence[str], ratings: NDArray[np.int64]) -> Families:
    """Groups movies by the stem of their titles: 2 to 12 with at least 10 ratings each.

    Args:
        titles: of all movies with a vector; empty if unknown.
        ratings: number of ratings of each movie.
    """
    found: defaultdict[str, list[int]] = defaultdict(list)
    for column in np.flatnonzero(ratings >= _LEAST_RATINGS).tolist():
        if stem := franchise_stem(titles[column]):
            found[stem].append(column)
    least, most = _FRANCHISE_SIZE
    return [np.array(own) for _, own in sorted(found.items()) if least <= len(own) <= most]


def find_series(
    titles: Sequence[str], years: Sequence[int | None], ratings: NDArray[np.int64]
) -> Families:
    """Finds the movies of `SERIES` by title and year: two or more with at least 10 ratings each.

    Args:
        titles: of all movies with a vector; empty if unknown.
        years: their years.
        ratings: number of ratings of each movie.
    """
    wanted = {
        (year, main_title(title)): name for name, movies in SERIES.items() for year, title in movies
    }
    found: dict[str, dict[str, int]] = {name: {} for name in SERIES}
    for column in np.flatnonzero(ratings >= _LEAST_RATINGS).tolist():
        year, title = years[column], main_title(titles[column])
        if year is not None and (name := wanted.get((year, title))):
            found[name].setdefault(title, column)
    return [np.array(list(own.values())) for own in found.values() if len(own) > 1]


def measure_family(
    vectors: NDArray[np.float32], families: Families, neighbors: int
) -> FamilyRecall | None:
    """Measures how much of each movie's family is among its nearest movies, by cosine.

    Args:
        vectors: float32 (movies, dim), each of length 1.
        families: columns of the movies of each family, two or more; at most 500 families are
            measured, spread evenly.
        neighbors: number of nearest movies.

    Returns:
        None if there are fewer than 5 families.
    """
    if len(families) < _LEAST_FAMILIES:
        return None
    measured = min(len(families), _MOST_FAMILIES)
    families = [families[at * len(families) // measured] for at in range(measured)]
    most = min(neighbors, len(vectors) - 1)
    shares: list[float] = []
    for family in families:
        cosines = vectors[family] @ vectors.T
        cosines[np.arange(len(family)), family] = -np.inf
        nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        found = np.isin(nearest, family).sum(axis=1)
        shares += (found / min(most, len(family) - 1)).tolist()
    return FamilyRecall(
        families=len(families), movies=len(shares), neighbors=neighbors, recall=np.mean(shares)
    )
