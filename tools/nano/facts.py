"""Plain facts as tables; families.py asks about them in many ways."""

# country: (capital, continent)
COUNTRIES = {
    "France": ("Paris", "Europe"), "Germany": ("Berlin", "Europe"), "Italy": ("Rome", "Europe"),
    "Spain": ("Madrid", "Europe"), "Portugal": ("Lisbon", "Europe"), "Greece": ("Athens", "Europe"),
    "Austria": ("Vienna", "Europe"), "Switzerland": ("Bern", "Europe"),
    "Belgium": ("Brussels", "Europe"), "the Netherlands": ("Amsterdam", "Europe"),
    "Denmark": ("Copenhagen", "Europe"), "Norway": ("Oslo", "Europe"),
    "Sweden": ("Stockholm", "Europe"), "Finland": ("Helsinki", "Europe"),
    "Iceland": ("Reykjavik", "Europe"), "Ireland": ("Dublin", "Europe"),
    "the United Kingdom": ("London", "Europe"), "England": ("London", "Europe"),
    "Scotland": ("Edinburgh", "Europe"), "Poland": ("Warsaw", "Europe"),
    "the Czech Republic": ("Prague", "Europe"), "Hungary": ("Budapest", "Europe"),
    "Romania": ("Bucharest", "Europe"), "Bulgaria": ("Sofia", "Europe"),
    "Croatia": ("Zagreb", "Europe"), "Serbia": ("Belgrade", "Europe"),
    "Ukraine": ("Kyiv", "Europe"), "Russia": ("Moscow", "Europe"), "Estonia": ("Tallinn", "Europe"),
    "Latvia": ("Riga", "Europe"), "Lithuania": ("Vilnius", "Europe"),
    "Slovakia": ("Bratislava", "Europe"), "Slovenia": ("Ljubljana", "Europe"),
    "Turkey": ("Ankara", "Asia"), "Japan": ("Tokyo", "Asia"), "China": ("Beijing", "Asia"),
    "India": ("New Delhi", "Asia"), "South Korea": ("Seoul", "Asia"),
    "Thailand": ("Bangkok", "Asia"), "Vietnam": ("Hanoi", "Asia"), "Indonesia": ("Jakarta", "Asia"),
    "the Philippines": ("Manila", "Asia"), "Iran": ("Tehran", "Asia"), "Iraq": ("Baghdad", "Asia"),
    "Saudi Arabia": ("Riyadh", "Asia"), "Nepal": ("Kathmandu", "Asia"),
    "Mongolia": ("Ulaanbaatar", "Asia"), "Pakistan": ("Islamabad", "Asia"),
    "Egypt": ("Cairo", "Africa"), "Kenya": ("Nairobi", "Africa"), "Nigeria": ("Abuja", "Africa"),
    "Morocco": ("Rabat", "Africa"), "Ghana": ("Accra", "Africa"),
    "Ethiopia": ("Addis Ababa", "Africa"), "Senegal": ("Dakar", "Africa"),
    "Tunisia": ("Tunis", "Africa"), "the United States": ("Washington, D.C.", "North America"),
    "Canada": ("Ottawa", "North America"), "Mexico": ("Mexico City", "North America"),
    "Cuba": ("Havana", "North America"), "Brazil": ("Brasilia", "South America"),
    "Argentina": ("Buenos Aires", "South America"), "Chile": ("Santiago", "South America"),
    "Peru": ("Lima", "South America"), "Colombia": ("Bogota", "South America"),
    "Uruguay": ("Montevideo", "South America"), "Venezuela": ("Caracas", "South America"),
    "Ecuador": ("Quito", "South America"), "Australia": ("Canberra", "Oceania"),
    "New Zealand": ("Wellington", "Oceania"),
}

OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("day", "night"),
    ("fast", "slow"), ("old", "young"), ("good", "bad"), ("happy", "sad"), ("light", "dark"),
    ("high", "low"), ("long", "short"), ("open", "closed"), ("full", "empty"), ("rich", "poor"),
    ("hard", "soft"), ("wet", "dry"), ("early", "late"), ("strong", "weak"), ("loud", "quiet"),
    ("clean", "dirty"), ("easy", "difficult"), ("true", "false"), ("near", "far"),
    ("first", "last"), ("inside", "outside"), ("black", "white"), ("yes", "no"), ("heavy", "light"),
    ("thick", "thin"), ("wide", "narrow"), ("deep", "shallow"), ("sweet", "sour"), ("begin", "end"),
    ("win", "lose"), ("push", "pull"), ("buy", "sell"), ("love", "hate"), ("alive", "dead"),
    ("brave", "afraid"), ("always", "never"), ("north", "south"), ("east", "west"),
    ("more", "less"), ("tall", "short"),
]

# thing: colour
COLOURS = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black",
    "a ripe banana": "yellow", "a lemon": "yellow", "blood": "red", "a ripe tomato": "red",
    "a carrot": "orange", "an orange": "orange", "a strawberry": "red", "milk": "white",
    "an elephant": "grey", "a flamingo": "pink", "the sun": "yellow", "chocolate": "brown",
    "a frog": "green", "the sea": "blue", "an emerald": "green", "a ruby": "red",
    "a polar bear": "white", "a leaf": "green", "a fire engine": "red", "a raven": "black",
    "an aubergine": "purple",
}

# (colour, colour): what they mix to
MIXES = {
    ("blue", "yellow"): "green", ("red", "yellow"): "orange", ("red", "blue"): "purple",
    ("black", "white"): "grey", ("red", "white"): "pink",
}

# animal: (young, sound, legs)
ANIMALS = {
    "dog": ("puppy", "barks", 4), "cat": ("kitten", "meows", 4), "cow": ("calf", "moos", 4),
    "horse": ("foal", "neighs", 4), "sheep": ("lamb", "bleats", 4), "pig": ("piglet", "oinks", 4),
    "hen": ("chick", "clucks", 2), "duck": ("duckling", "quacks", 2), "lion": ("cub", "roars", 4),
    "frog": ("tadpole", "croaks", 4), "goat": ("kid", "bleats", 4),
    "goose": ("gosling", "honks", 2), "bear": ("cub", "growls", 4), "wolf": ("pup", "howls", 4),
    "owl": ("owlet", "hoots", 2), "deer": ("fawn", "bellows", 4),
}

LEGS = {
    "spider": 8, "insect": 6, "ant": 6, "bee": 6, "bird": 2, "octopus": 8, "snake": 0,
    "elephant": 4, "fish": 0, "human": 2, "crab": 10,
}

# (small unit, large unit, how many)
UNITS = [
    ("metres", "kilometre", "1,000"), ("centimetres", "metre", "100"),
    ("millimetres", "centimetre", "10"), ("grams", "kilogram", "1,000"),
    ("kilograms", "tonne", "1,000"), ("seconds", "minute", "60"), ("minutes", "hour", "60"),
    ("hours", "day", "24"), ("days", "week", "7"), ("months", "year", "12"),
    ("weeks", "year", "52"), ("days", "year", "365"), ("years", "decade", "10"),
    ("years", "century", "100"), ("years", "millennium", "1,000"),
    ("millilitres", "litre", "1,000"), ("inches", "foot", "12"), ("feet", "yard", "3"),
    ("eggs", "dozen", "12"), ("bits", "byte", "8"), ("bytes", "kibibyte", "1,024"),
    ("cents", "dollar", "100"), ("degrees", "circle", "360"), ("degrees", "right angle", "90"),
    ("sides", "triangle", "3"), ("sides", "square", "4"), ("sides", "hexagon", "6"),
    ("sides", "pentagon", "5"), ("sides", "octagon", "8"), ("seconds", "hour", "3,600"),
]

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = ["spring", "summer", "autumn", "winter"]
PLANETS = ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"]
ORDINALS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
]
