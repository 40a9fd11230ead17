"""Vocabulary of names, titles, places and tags. Some words are not ASCII, as in real metadata."""


def _split(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


FIRST_NAMES = _split(
    "Aaron Ada Alma Amos Anouk Ben Bessie Bianca Bo Carla Cedric Chloe Clyde Cora Dana Della Dexter Dinah Earl Edith "
    "Eli Elsa Ezra Fay Felix Flora Frankie Gil Gloria Hank Hazel Homer Ida Ike Irma Ivan Jess Jonah June Kit Lena "
    "Leroy Lila Lou Mabel Marcus Mavis Milo Nadia Nell Nico Odell Olga Otis Pearl Percy Quincy Ramona Rita Roscoe "
    "Ruby Sal Selma Silas Stella Theo Tilda Ugo Vera Vince Wanda Wes Yara Zeke José Zoë Björn Çelik Noël Łucja Jürgen "
    "Renée Søren Máire İlker Ingrid Thiago Anaïs Николай 美咲"
)
LAST_NAMES = _split(
    "Abbott Avery Bailey Barlow Bishop Boone Brandt Briggs Calloway Carver Castle Coleman Corrigan Crane Dalton "
    "Delgado Drummond Easton Ellis Fairbanks Farrow Fontaine Galloway Garner Gentry Hale Hargrove Hendricks Holloway "
    "Ibarra Ives Jarvis Keating Kincaid Lachance Lambert Langley Larkin Maddox Mancini Marlow Merritt Montoya Norwood "
    "Oakley Okafor Paxton Pickett Pruitt Quigley Ramsey Rhodes Rivera Rowland Sawyer Serrano Shelby Stokes Tate "
    "Thorne Tillman Vance Vasquez Wakefield Weller Winslow Yates Zeller Nuñez Müller Göransson Þórsdóttir Brontë "
    "Dvořák Guimarães Šimek O’Malley Żeleński Петров 高橋"
)
GROUP_NOUNS = _split(
    "Anchors Arrows Badlands Bandits Beacons Brothers Caravans Comets Copperheads Corners Cranes Daughters Diplomats "
    "Echoes Embers Engines Faders Fables Foxes Gardens Ghosts Harbors Headlights Horizons Islands Jackals Keys "
    "Lanterns Larks Machines Magpies Mirrors Monarchs Motors Nomads Orphans Outlaws Parades Pilots Pioneers Prophets "
    "Ramblers Rockets Saints Satellites Scholars Shadows Sirens Sparrows Strangers Tides Travelers Trees Tunnels "
    "Vandals Villains Walls Wolves Wonders Yards Zeppelins Fjörds Señores Rêveurs"
)
ADJECTIVES = _split(
    "Able Amber Ancient Bitter Black Blind Blue Brave Broken Burning Calm Careless Cold Crooked Dark Distant Divine "
    "Early Easy Electric Empty Endless Faded Fallen False Fast Final Forgotten Free Gentle Golden Gray Green Hidden "
    "High Hollow Holy Honest Idle Innocent Invisible Last Late Lonely Long Lost Low Lucky Mellow Midnight Modern "
    "Naked Northern Old Open Pale Perfect Plain Quiet Rapid Red Restless Royal Rusty Sacred Secret Silent Silver "
    "Simple Slow Small Southern Strange Sweet Tender Tired True Velvet Violet Warm Wasted Western White Wicked Wild "
    "Winter Wise Young"
)
NOUNS = _split(
    "Afternoon Angel Autumn Avenue Bell Bird Boat Boulevard Bridge Candle Carnival Chance City Cloud Corner Country "
    "Crown Dance Dawn Daylight Devil Diamond Door Dream Dust Earth Evening Eyes Farewell Fever Fire Flame Flower "
    "Friend Garden Glory Gold Goodbye Ground Hand Harbor Heart Heaven Highway Hill Home Honey Horizon Hour House "
    "Hurricane Island Journey Kiss Lady Letter Light Line Love Lover Machine Memory Mile Mirror Moment Money Moon "
    "Morning Mother Mountain Music Name Night Ocean Paradise Picture Promise Queen Rain Reason Ring River Road Room "
    "Rose Sailor Sea Season Shadow Shore Silence Sister Sky Smile Snow Soldier Song Sorrow Soul Spring Star Station "
    "Stone Storm Story Stranger Street Summer Sun Sunday Tear Thing Thunder Time Tomorrow Train Tree Trouble Valley "
    "Voice Water Wave Whisper Wind Window Winter Woman Wonder Word World Yesterday Corazón Café Niño Été Größe Ночь 桜"
)
VERBS = _split(
    "Believe Break Bring Burn Call Carry Chase Count Cross Dance Dream Fall Find Follow Forget Give Hold Hurt Keep "
    "Know Leave Listen Lose Love Miss Move Need Paint Play Remember Ride Run Save Shake Sing Sleep Stay Steal Take "
    "Tell Touch Trust Turn Wait Walk Want Watch Wonder Write"
)
VERSION_MARKS = (
    "",
    "",
    "",
    "",
    "",
    "",
    " (Live)",
    " (Album Version)",
    " (LP Version)",
    " (Remastered)",
    " (2003 Digital Remaster)",
)

# place, latitude, longitude; the first places are the most frequent
PLACES: tuple[tuple[str, float, float], ...] = (
    ("Los Angeles, CA", 34.05349, -118.24532),
    ("New York, NY", 40.71455, -74.00712),
    ("Chicago, IL", 41.88415, -87.63241),
    ("Nashville, TN", 36.16778, -86.77836),
    ("Memphis, TN", 35.14968, -90.04892),
    ("Detroit, MI", 42.33168, -83.04792),
    ("Atlanta, GA", 33.74831, -84.39111),
    ("Austin, TX", 30.26759, -97.74299),
    ("New Orleans, LA", 29.95369, -90.07771),
    ("Seattle, WA", 47.60356, -122.32944),
    ("Philadelphia, PA", 39.95227, -75.16237),
    ("London, England", 51.50632, -0.12714),
    ("Manchester, England", 53.4796, -2.24881),
    ("Kingston, Jamaica", 17.97079, -76.79358),
    ("Berlin, Germany", 52.51607, 13.37698),
    ("Paris, France", 48.85692, 2.34121),
    ("Stockholm, Sweden", 59.33217, 18.06243),
    ("Reykjavík, Iceland", 64.14548, -21.93917),
    ("São Paulo, Brazil", -23.56287, -46.65468),
    ("La Habana, Cuba", 23.1168, -82.38859),
    ("México, D.F.", 19.43268, -99.13421),
    ("Buenos Aires, Argentina", -34.60852, -58.37354),
    ("Lagos, Nigeria", 6.45506, 3.39418),
    ("Toronto, Ontario, Canada", 43.64856, -79.38533),
    ("Sydney, Australia", -33.86963, 151.20695),
    ("Tokyo, Japan", 35.68407, 139.80888),
    ("Dublin, Ireland", 53.34807, -6.24827),
    ("Glasgow, Scotland", 55.8578, -4.24251),
)

GENERAL_TAGS = _split(
    "pop|rock|american|united states|acoustic|guitar|ballad|vocal|female vocalist|male vocalist|"
    "instrumental|80s|90s|00s|70s|60s|oldies|classic|soundtrack|easy listening|beautiful|experimental|"
    "world|cover|live|piano|singer|romantic|melodic|mellow|dance|soul|funk|indie|alternative|germany|"
    "british|french|canadian|chill|party|sad|summer|fun|energetic|psychedelic|groove|lounge|christian|"
    "holiday|humor|spanish|español|música",
    "|",
)
