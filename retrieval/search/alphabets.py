"""Which letters the languages are written with: by their scripts, and where many share a script, letter by letter.

By the exemplar characters of the Unicode CLDR 48. A script is the first word of its letters' Unicode names.
"""

from typing import NamedTuple


class Language(NamedTuple):
    """A language: its name, its scripts, and its letters.

    letters: where its scripts are among SHARED, those that its own words need beyond a to z, in lower case. loans:
    those that it takes over with words of other languages.
    """

    name: str
    scripts: tuple[str, ...]
    letters: str = ""
    loans: str = ""


_WEST = "àáâãäåæçèéêëìíîïñòóôöøùúûüÿāăēĕīĭōŏœūŭ"  # what much of Europe takes over
_TONES = "ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ"
_RUSSIAN = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
_ARABIC = "ءابتثجحخدذرزسشصضطظعغفقلمنو"  # what Persian and Urdu have as well
_LATIN, _CYRILLIC, _ARABIC_SCRIPT = ("LATIN",), ("CYRILLIC",), ("ARABIC",)
SHARED = (*_LATIN, *_CYRILLIC, *_ARABIC_SCRIPT)  # by too many languages to tell them by it
DENSE = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")  # in which a single letter may be a word

LANGUAGES: dict[str, Language] = {
    "en": Language("English", _LATIN, "", _WEST),
    "de": Language("German", _LATIN, "ßäöü", _WEST + "ğİış"),
    "es": Language("Spanish", _LATIN, "áéíñóúü", _WEST + "ý"),
    "fr": Language("French", _LATIN, "àâæçèéêëîïôùûüÿœ", "ßáãäåìíñòóõöøúāćēīřšǔ"),
    "it": Language("Italian", _LATIN, "àèéìòù", _WEST + "ßõ"),
    "nl": Language("Dutch", _LATIN, "áäéëíïóöúüḿ", _WEST + "ý"),
    "pl": Language("Polish", _LATIN, "óąćęłńśźż", _WEST + "ß"),
    "pt": Language("Portuguese", _LATIN, "àáâãçéêíòóôõú", _WEST),
    "tr": Language("Turkish", _LATIN, "çöüğİış", _WEST + "ß"),
    "vi": Language("Vietnamese", _LATIN, "àáâãèéêìíòóôõùúýăđĩũơư" + _TONES),
    "az": Language("Azerbaijani", _LATIN, "çöüğİışə"),
    "ca": Language("Catalan", _LATIN, "àçèéíïòóúü", _WEST),
    "cs": Language("Czech", _LATIN, "áéíóúýčďěňřšťůž", _WEST + "ľłŕ"),
    "cy": Language("Welsh", _LATIN, "àáâäèéêëìíîïòóôöùúûüýÿŵŷẁẃẅỳ", _WEST),
    "da": Language("Danish", _LATIN, "åæø", _WEST + "ǿ"),
    "et": Language("Estonian", _LATIN, "äõöüšž", _WEST),
    "fi": Language("Finnish", _LATIN, "äåöšž", _WEST + "ßðõýþćčďěğłńňőŕřśşťůűźżșț"),
    "ga": Language("Irish", _LATIN, "áéíóú", "åċġḃḋḟṁṗṡṫ"),
    "hr": Language("Croatian", _LATIN, "ćčđšž"),
    "hu": Language("Hungarian", _LATIN, "áéíóöúüőű", _WEST),
    "is": Language("Icelandic", _LATIN, "áæéíðóöúýþ"),
    "lt": Language("Lithuanian", _LATIN, "ąčėęįšūųž", "àáãèéìíñòóõùúĩũ"),
    "lv": Language("Latvian", _LATIN, "āčēģīķļņšūž", "ōŗ"),
    "mt": Language("Maltese", _LATIN, "àèìòùċġħż"),
    "nb": Language("Norwegian", _LATIN, "àåæéòóôø", _WEST + "čđńŋšŧž"),
    "ro": Language("Romanian", _LATIN, "âîășț", "àáäåçèéêëñöüşţ"),
    "sk": Language("Slovak", _LATIN, "áäéíóôúýčďĺľňŕšťž", _WEST + "őřű"),
    "sl": Language("Slovenian", _LATIN, "čšž", _WEST + "ćđ"),
    "sv": Language("Swedish", _LATIN, "åäéàö", _WEST),
    "ru": Language("Russian", _CYRILLIC, _RUSSIAN + "ё"),
    "uk": Language("Ukrainian", _CYRILLIC, "абвгдежзийклмнопрстуфхцчшщьюяєіїґ", "ыъэё"),
    "be": Language("Belarusian", _CYRILLIC, "абвгдежзйклмнопрстуфхцчшыьэюяёіў"),
    "bg": Language("Bulgarian", _CYRILLIC, "абвгдежзийклмнопрстуфхцчшщъьюя", "ыэѐѝ"),
    "kk": Language("Kazakh", _CYRILLIC, _RUSSIAN + "ёіғқңүұһәө"),
    "mk": Language("Macedonian", _CYRILLIC, "абвгдежзиклмнопрстуфхцчшѓѕјљњќџ", "ѐѝ"),
    "mn": Language("Mongolian", _CYRILLIC, _RUSSIAN + "ёүө"),
    "sr": Language("Serbian", _CYRILLIC, "абвгдежзиклмнопрстуфхцчшђјљњћџ"),
    "tg": Language("Tajik", _CYRILLIC, "абвгдежзийклмнопрстуфхчшъэюяёғқҳҷӣӯ", "цщыь"),
    "ar": Language("Arabic", _ARABIC_SCRIPT, _ARABIC + "آأؤإئةكهىي", "ـٯٱپچژڜڢڤڥڧڨکگیى"),
    "ckb": Language("Kurdish", _ARABIC_SCRIPT, "ئابتجحخدرزسشعغفقلمنهوپچڕژڤکگڵۆیێە", _ARABIC + "آأؤإةكىيھ"),
    "fa": Language("Persian", _ARABIC_SCRIPT, _ARABIC + "آأؤئةهپچژکگی", "إـكىي"),
    "ps": Language("Pashto", _ARABIC_SCRIPT, _ARABIC + "آأؤئةهيټپځڅچډړږژښکګگڼیۍې", "ے"),
    "ug": Language("Uyghur", _ARABIC_SCRIPT, "ئابتجخدرزسشغفقكلمنوىيپچژڭگھۆۇۈۋېە"),
    "ur": Language("Urdu", _ARABIC_SCRIPT, _ARABIC + "ٹپچڈڑژکگھہیے", "آأؤئةهيںۂۃ"),
    "am": Language("Amharic", ("ETHIOPIC",)),
    "bn": Language("Bengali", ("BENGALI",)),
    "el": Language("Greek", ("GREEK",)),
    "gu": Language("Gujarati", ("GUJARATI",)),
    "he": Language("Hebrew", ("HEBREW",)),
    "hi": Language("Hindi", ("DEVANAGARI",)),
    "hy": Language("Armenian", ("ARMENIAN",)),
    "zh": Language("Chinese", ("CJK", "BOPOMOFO"), loans="āēīōūǎěǐǒǔǖǘǚǜ"),  # pinyin
    "ja": Language("Japanese", ("CJK", "HIRAGANA", "KATAKANA")),
    "ka": Language("Georgian", ("GEORGIAN",)),
    "km": Language("Khmer", ("KHMER",)),
    "kn": Language("Kannada", ("KANNADA",)),
    "ko": Language("Korean", ("HANGUL", "CJK")),
    "lo": Language("Lao", ("LAO",)),
    "ml": Language("Malayalam", ("MALAYALAM",)),
    "mr": Language("Marathi", ("DEVANAGARI",)),
    "my": Language("Burmese", ("MYANMAR",)),
    "ne": Language("Nepali", ("DEVANAGARI",)),
    "or": Language("Odia", ("ORIYA",)),
    "pa": Language("Punjabi", ("GURMUKHI",)),
    "si": Language("Sinhala", ("SINHALA",)),
    "ta": Language("Tamil", ("TAMIL",)),
    "te": Language("Telugu", ("TELUGU",)),
    "th": Language("Thai", ("THAI",)),
    "ti": Language("Tigrinya", ("ETHIOPIC",)),
    "yi": Language("Yiddish", ("HEBREW",)),
}
SCRIPTS = frozenset(script for language in LANGUAGES.values() for script in language.scripts)
