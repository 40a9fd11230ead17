"""Common names of genres: one name for each, whatever a label, a tag or a model calls it.

The names are those of tagtraum's annotations of the dataset (Schreiber 2015), and further ones where these are too
coarse: Classical, Disco, Funk, Metal, Pop, Punk, Rock and Soul. ``Pop_Rock`` stays for labels that do not divide it.
"""

_SEPARATORS = "-_&/.,;+'’"
"""Characters that count as spaces: Hip-Hop and hip hop are the same genre."""

_WORDS: tuple[tuple[str, str], ...] = (
    # kinds of recordings and films are not genres of music
    ("", "soundtrack|score|audiobook|podcast|spoken word|speech|comedy"),
    ("Pop_Rock", "pop rock|rock pop"),
    ("Rap", "rap|hip hop|hiphop|trap|grime|gangsta|boom bap"),
    ("New Age", "new age|newage|meditation|meditative"),
    ("Punk", "punk|hardcore|emo|ska punk"),
    ("Metal", "metal|metalcore|deathcore|grindcore|djent|thrash"),
    ("Latin", "latin|latino|reggaeton|salsa|bossa|bossa nova|samba|tango|cumbia|bachata|merengue|mariachi|mambo"),
    ("Jazz", "jazz|bebop|bop|dixieland|ragtime|swing|big band|acid jazz|fusion"),
    ("Electronic", "electronic|electronica|electro|techno|house|trance|dubstep|ambient|edm|idm|drum bass"),
    ("Electronic", "dnb|downtempo|trip hop|triphop|breakbeat|jungle|synthwave|chillout|chillwave|eurodance|dance|club"),
    ("Electronic", "drum n bass|drum and bass|lofi|lo fi|glitch|vaporwave|hardstyle|rave|big beat"),
    ("Disco", "disco"),
    ("Funk", "funk|p funk"),
    ("Soul", "soul|motown"),
    ("RnB", "rnb|r b|r n b|rhythm blues|rhythm and blues|gospel|new jack swing|doo wop"),
    ("Reggae", "reggae|dub|dancehall|ska|rocksteady|ragga"),
    ("Rock", "rock|grunge|alternative|indie|shoegaze|britpop|rockabilly|new wave|psychedelic|classic rock"),
    ("Pop", "pop|electropop|dancepop|kpop|jpop|synthpop|schlager|teen pop|europop"),
    ("Classical", "classical|classic|klassik|baroque|romantic|symphony|symphonic|chamber|chamber music|orchestral"),
    ("Classical", "orchestra|renaissance|opera|choral|chorus|sonata|impressionist|contemporary classical"),
    ("Blues", "blues"),
    ("Country", "country|bluegrass|americana|honky tonk|western"),
    ("Folk", "folk|singer songwriter|celtic|acoustic|folklore"),
    (
        "International",
        "international|world|world music|afrobeat|afrobeats|african|flamenco|klezmer|bollywood|fado|rai|polka",
    ),
    ("Vocal", "vocal|vocals|chanson|easy listening|crooner|crooners|a capella|a cappella|cabaret"),
)
"""Genres and the words that name them. The first genre of which the name has a word is the common name.

The order makes the last word of usual names decide: jazz rap is rap, folk rock is rock. An empty genre is none.
"""


def map_genre(name: str) -> str | None:
    """Return the common name of a genre, or None if ``name`` contains no known word."""
    spaced = name.lower().translate(str.maketrans(_SEPARATORS, " " * len(_SEPARATORS)))
    padded = f" {spaced} ".replace("  ", " ").replace("  ", " ")
    for genre, words in _WORDS:
        if any(f" {word} " in padded for word in words.split("|")):
            return genre or None
    return None


def map_genre_sql(name: str) -> str:
    """Return the SQL expression of `map_genre` for the SQL expression ``name``, in Spark and in DuckDB."""
    quoted = f"concat('{_SEPARATORS.replace(chr(39), '')}', chr(39))"  # the engines escape quotes in different ways
    spaced = f"translate(lower({name}), {quoted}, '{' ' * len(_SEPARATORS)}')"
    padded = f"replace(replace(concat(' ', {spaced}, ' '), '  ', ' '), '  ', ' ')"
    whens = []
    for genre, words in _WORDS:
        condition = " OR ".join(f"padded LIKE '% {word} %'" for word in words.split("|"))
        whens.append(f"WHEN {condition} THEN {repr(genre) if genre else 'NULL'}")
    return f"CASE {' '.join(whens)} END".replace("padded", padded)
