"""Other names of languages, in files and services: English names, ISO 639-2 and 639-3."""

from collections.abc import Iterator
from functools import cache
from typing import Final

# Code, codes of ISO 639-3 and (bibliographic) 639-2, names (openai/whisper, whisper/tokenizer.py, LANGUAGES and
# TO_LANGUAGE_CODE).
_TABLE: Final = """
    en eng english; zh zho,chi,cmn chinese,mandarin; de deu,ger german; es spa spanish,castilian; ru rus russian
    ko kor korean; fr fra,fre french; ja jpn japanese; pt por portuguese; tr tur turkish; pl pol polish
    ca cat catalan,valencian; nl nld,dut dutch,flemish; ar ara arabic; sv swe swedish; it ita italian
    id ind indonesian; hi hin hindi; fi fin finnish; vi vie vietnamese; he heb hebrew; uk ukr ukrainian
    el ell,gre greek; ms msa,may,zsm malay; cs ces,cze czech; ro ron,rum romanian,moldavian,moldovan; da dan danish
    hu hun hungarian; ta tam tamil; no nor,nob norwegian; th tha thai; ur urd urdu; hr hrv croatian
    bg bul bulgarian; lt lit lithuanian; la lat latin; mi mri,mao maori; ml mal malayalam; cy cym,wel welsh
    sk slk,slo slovak; te tel telugu; fa fas,per,pes persian; lv lav latvian; bn ben bengali; sr srp serbian
    az aze azerbaijani; sl slv slovenian; kn kan kannada; et est estonian; mk mkd,mac macedonian; br bre breton
    eu eus,baq basque; is isl,ice icelandic; hy hye,arm armenian; ne nep nepali; mn mon mongolian; bs bos bosnian
    kk kaz kazakh; sq sqi,alb albanian; sw swa,swh swahili; gl glg galician; mr mar marathi
    pa pan punjabi,panjabi; si sin sinhala,sinhalese; km khm khmer; sn sna shona; yo yor yoruba; so som somali
    af afr afrikaans; oc oci occitan; ka kat,geo georgian; be bel belarusian; tg tgk tajik; sd snd sindhi
    gu guj gujarati; am amh amharic; yi yid yiddish; lo lao lao; uz uzb uzbek; fo fao faroese
    ht hat haitian_creole,haitian; ps pus pashto,pushto; tk tuk turkmen; nn nno nynorsk; mt mlt maltese
    sa san sanskrit; lb ltz luxembourgish,letzeburgesch; my mya,bur myanmar,burmese; bo bod,tib tibetan
    tl tgl,fil tagalog
    mg mlg malagasy; as asm assamese; tt tat tatar; haw haw hawaiian; ln lin lingala; ha hau hausa; ba bak bashkir
    jw jav javanese; su sun sundanese; yue yue cantonese
"""


def code_of(name: str) -> str:
    """A job's language code for names such as "ger", "deu", "de-AT" or "German"; empty if unknown."""
    return _codes().get(name.strip().lower().replace(" ", "_").partition("-")[0], "")


def name_of(code: str) -> str:
    """The English name of a language by its code, in lower case, as Whisper writes it: "haitian creole"."""
    row = next(row for row in _rows() if row[0] == code)
    return row[2].partition(",")[0].replace("_", " ")


@cache
def _codes() -> dict[str, str]:
    codes: dict[str, str] = {}
    for code, others, names in _rows():
        codes |= dict.fromkeys((code, *others.split(","), *names.split(",")), code)
    return codes


def _rows() -> Iterator[tuple[str, str, str]]:
    for row in _TABLE.strip().replace("\n", ";").split(";"):
        code, others, names = row.split()
        yield code, others, names
