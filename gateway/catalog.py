"""
Reads the model catalogue: the one that ships, and an operator's own laid over it.

Decided here: how an overlay wins, and whether entries fit together. Every fault of both
files is reported at once, with file, entry, key and what to do; a catalogue with a fault is no catalogue.

Not here: the keys of the file (catalog_file.py), what a price comes to by tier and day (catalog_prices.py), what the
values mean (core/catalog.py), which file to read (settings).
"""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import assert_never

from gateway import resources
from gateway.catalog_file import (
    AnyModel,
    AnyRule,
    FactorRule,
    Family,
    File,
    FormulaRule,
    ImageModel,
    ImagePrice,
    LargestRule,
    LongInput,
    PerImageModel,
    SizeLimits,
    Table,
    TableRule,
    TextModel,
    TextPrice,
    entry_name,
    names_of,
    nearest,
    read,
)
from gateway.catalog_prices import epoch_s, tariffs
from gateway.core import catalog as core
from gateway.core import tokens

SHIPPED = "models.toml"

# Stands where a rule is named that does not exist, so that the search for faults can go on.
_NO_RULE = tokens.LargestRule(())

# Another server's copy of a model has names and a life of its own.
_NOT_INHERITED = frozenset({"names", "moving", "shutdown"})


class CatalogError(Exception):
    """The catalogue cannot be used. `faults`: one sentence each, all there are."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def load(overlay: Path | None = None) -> core.Catalog:
    """
    The catalogue that ships, with an operator's own file laid over it.

    An overlay's models take their names away from ours; its rules and families replace ours of the same name or
    glob, and its families are tried first; its defaults, tiers and tool prices replace ours key by key.

    Raises:
        CatalogError: with every fault of both files.
    """
    texts = {SHIPPED: resources.text(SHIPPED)}
    if overlay is not None:
        texts[str(overlay)] = _text_of(overlay)
    return build(texts)


def build(texts: Mapping[str, str]) -> core.Catalog:
    """
    A catalogue from the TOML of several files by their names, the later ones over the earlier.

    Raises:
        CatalogError: with every fault of all of them.
    """
    faults: list[str] = []
    left_out: set[str] = set()
    layers: list[tuple[str, File]] = []
    known: dict[str, Table] = {}
    for file, text in texts.items():
        try:
            content = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            faults.append(f"{file}: is not TOML: {error}")
            continue
        expanded = _without_likes(file, content, known, faults, left_out)
        layer, found, unsound = read(file, expanded)
        faults += found
        left_out |= unsound
        layers.append((file, layer))
    catalog = _Builder(layers, faults, left_out).catalog()
    if faults:
        raise CatalogError(faults)
    return catalog


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fault = f"{path}: cannot be read ({error.strerror}); check `catalog.path`"
        raise CatalogError([fault]) from error
    except UnicodeDecodeError as error:
        fault = f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise CatalogError([fault]) from error


def _without_likes(
    file: str, content: Table, known: dict[str, Table], faults: list[str], left_out: set[str]
) -> Table:
    """The content with every `like` replaced by what it stands for; its models are added to the known ones."""
    models = content.get("model")
    if not isinstance(models, list):
        return content
    expanded: list[object] = []
    for position, entry in enumerate(models):
        if not isinstance(entry, dict):
            expanded.append(entry)
            continue
        if "like" in entry:
            like = str(entry["like"])
            if like not in known:
                hint = nearest(like, known) or "; name a model that stands above it or ships with us"
                faults.append(
                    f"{file}: {entry_name(content, 'model', position)}: like: there is no model {like!r}{hint}"
                )
            # Read all the same, as like the model that was probably meant, so that its other faults are found too.
            base = known.get(like) or _probably_meant(file, entry, known)
            if base is None:
                left_out |= names_of(entry)
                continue
            inherited = {key: value for key, value in base.items() if key not in _NOT_INHERITED}
            entry = inherited | {key: value for key, value in entry.items() if key != "like"}
        expanded.append(entry)
        names = entry.get("names")
        if isinstance(names, list):
            known.update({str(name): entry for name in names})
    return content | {"model": expanded}


def _probably_meant(file: str, entry: Table, known: Mapping[str, Table]) -> Table | None:
    """The model with the nearest name, or else one of the kind with which the entry has the fewest faults."""
    close = get_close_matches(str(entry["like"]), list(known), n=1)
    if close:
        return known[close[0]]
    written = {key: value for key, value in entry.items() if key != "like"}
    kinds = {str(base.get("kind")): base for base in known.values()}
    return min(kinds.values(), key=lambda base: len(read(file, {"model": [base | written]})[1]), default=None)


class _Builder:
    """Lays valid files over each other and makes core values of them; what does not fit together is a fault."""

    def __init__(self, layers: list[tuple[str, File]], faults: list[str], left_out: set[str]) -> None:
        self._layers = layers
        self._faults = faults
        self._left_out = left_out  # named elsewhere without fault: theirs is reported already
        self._rules: dict[str, tokens.TokenRule] = {}
        self._text_tiers = {name: factor for _, file in layers for name, factor in file.tiers.text.items()}
        self._image_tiers = {name: factor for _, file in layers for name, factor in file.tiers.image.items()}

    def catalog(self) -> core.Catalog:
        for file, layer in self._layers:
            self._once(file, "rule", [rule.name for rule in layer.rule])
            for rule in layer.rule:
                self._rules[rule.name] = self._rule(f"{file}: rule {rule.name!r}", rule)
        models = self._models()
        families = self._families(models)
        defaults = self._defaults(models, families)
        return core.Catalog(
            models=models,
            families=families,
            default_tool_model=defaults.pop("image_tool", ""),
            defaults=defaults,
            tool_prices={name: usd for _, layer in self._layers for name, usd in layer.tools.items()},
        )

    def _once(self, file: str, section: str, names: list[str]) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                self._faults.append(f"{file}: {section} {name!r} is there {count} times; keep one")

    def _rule(self, where: str, rule: AnyRule) -> tokens.TokenRule:
        match rule:
            case TableRule():
                return tokens.TableRule(rule.tokens)
            case FormulaRule():
                return tokens.FormulaRule(rule.base)
            case FactorRule():
                return tokens.FactorRule(self._rule_named(where, rule.of), rule.factor)
            case LargestRule():
                return tokens.LargestRule(tuple(self._rule_named(where, name) for name in rule.of))
            case _:
                assert_never(rule)

    def _rule_named(self, where: str, name: str) -> tokens.TokenRule:
        if name in self._rules:
            return self._rules[name]
        if name not in self._left_out:
            hint = nearest(name, self._rules) or "; add it above"
            self._faults.append(f"{where}: there is no rule {name!r}{hint}")
        return _NO_RULE

    def _models(self) -> dict[str, core.Model]:
        models: dict[str, core.Model] = {}
        for file, layer in self._layers:
            self._once(file, "model", [name for model in layer.model for name in model.names])
            for entry in layer.model:
                model = self._model(f"{file}: model {entry.names[0]!r}", entry)
                models |= dict.fromkeys(model.names, model)
        for model in {id(each): each for each in models.values()}.values():
            kept = tuple(name for name in model.names if models[name] is model)
            if kept != model.names:  # an overlay has taken some of them away
                models |= dict.fromkeys(kept, replace(model, names=kept, moving=model.moving & set(kept)))
        return models

    def _model(self, where: str, entry: AnyModel) -> core.Model:
        names = tuple(entry.names)
        moving = entry.moving if entry.moving is not None else [n for n in names if not core.is_dated(n)]
        for name in sorted(set(moving) - set(names)):
            hint = nearest(name, names) or "; add it there or leave it out here"
            self._faults.append(f"{where}: moving: {name!r} is not one of its names{hint}")
        shutdown_s = None if entry.shutdown is None else epoch_s(entry.shutdown)
        match entry:
            case ImageModel():
                model = core.ImageModel(
                    names=names,
                    moving=frozenset(moving),
                    shutdown_s=shutdown_s,
                    rule=self._rule_named(where, entry.rule),
                    auto_max_tokens=entry.auto_max_tokens,
                    input_image_max_tokens=entry.input_image_max_tokens,
                    qualities=tuple(entry.qualities),
                    sizes=_sizes(entry.sizes),
                    tariffs=self._tariffs(where, entry.price, self._image_tiers | entry.tiers, None),
                )
                self._check_qualities(where, model)
                return model
            case TextModel():
                return core.TextModel(
                    names=names,
                    moving=frozenset(moving),
                    shutdown_s=shutdown_s,
                    input_image_max_tokens=entry.input_image_max_tokens,
                    tariffs=self._tariffs(
                        where, entry.price, self._text_tiers | entry.tiers, entry.long_input
                    ),
                )
            case PerImageModel():
                prices = {
                    (quality, size): usd
                    for quality, row in entry.per_image.items()
                    for size, usd in row.items()
                }
                if (entry.default_quality, entry.default_size) not in prices:
                    self._faults.append(
                        f"{where}: default_quality and default_size have no price in per_image; add one"
                    )
                return core.PerImageModel(
                    names=names,
                    moving=frozenset(moving),
                    shutdown_s=shutdown_s,
                    prices=prices,
                    default_quality=entry.default_quality,
                    default_size=entry.default_size,
                )
            case _:
                assert_never(entry)

    def _check_qualities(self, where: str, model: core.ImageModel) -> None:
        if model.rule == _NO_RULE:
            return  # that fault is named already
        for quality in model.qualities:
            if tokens.most_image_tokens(model.rule, quality, edge=1) is None:
                self._faults.append(
                    f"{where}: qualities: its rule says nothing about {quality!r}; add it there"
                )

    def _tariffs(
        self,
        where: str,
        rows: Sequence[ImagePrice | TextPrice],
        factors: Mapping[str, Decimal],
        long_input: LongInput | None,
    ) -> tuple[core.Tariff, ...]:
        """What is wrong with them is a fault of the entry."""
        found, wrong = tariffs(rows, factors, long_input)
        self._faults += [f"{where}: price: {fault}" for fault in wrong]
        return found

    def _families(self, models: Mapping[str, core.Model]) -> tuple[core.Family, ...]:
        families: dict[str, core.Family] = {}
        for file, layer in reversed(self._layers):
            self._once(file, "family", [family.match for family in layer.family])
            for entry in layer.family:
                if entry.match not in families:
                    family = self._family(f"{file}: family {entry.match!r}", entry, models)
                    families |= {} if family is None else {entry.match: family}
        return tuple(families.values())

    def _family(self, where: str, entry: Family, models: Mapping[str, core.Model]) -> core.Family | None:
        stand_in = models.get(entry.priced_as)
        if stand_in is None:
            self._no_model(f"{where}: priced_as", entry.priced_as, models)
            return None
        if not isinstance(stand_in, core.ImageModel):
            if entry.model_fields_set > {"match", "priced_as"}:
                keys = ", ".join(sorted(entry.model_fields_set - {"match", "priced_as"}))
                self._faults.append(f"{where}: {keys}: is for image models only; leave it out")
            return core.Family(
                match=entry.match,
                priced_as=entry.priced_as,
                model=replace(stand_in, names=(), moving=frozenset(), shutdown_s=None),
            )
        model = replace(
            stand_in,
            names=(),
            moving=frozenset(),
            shutdown_s=None,
            rule=stand_in.rule if entry.rule is None else self._rule_named(where, entry.rule),
            auto_max_tokens=entry.auto_max_tokens or stand_in.auto_max_tokens,
            input_image_max_tokens=entry.input_image_max_tokens or stand_in.input_image_max_tokens,
            qualities=tuple(entry.qualities or stand_in.qualities),
            sizes=stand_in.sizes if entry.sizes is None else _sizes(entry.sizes),
        )
        self._check_qualities(where, model)
        return core.Family(match=entry.match, priced_as=entry.priced_as, model=model)

    def _defaults(
        self, models: Mapping[str, core.Model], families: tuple[core.Family, ...]
    ) -> dict[str, str]:
        """The model by route; `image_tool` among them."""
        defaults: dict[str, str] = {}
        for file, layer in self._layers:
            for key, name in layer.defaults.model_dump(by_alias=True, exclude_none=True).items():
                defaults[key] = name
                if name not in models and not any(fnmatchcase(name, family.match) for family in families):
                    self._no_model(f"{file}: defaults: {key}", name, models)
        if "image_tool" not in defaults and "image_tool" not in self._left_out:
            files = " and ".join(file for file, _ in self._layers)
            self._faults.append(f"{files}: defaults: 'image_tool' is missing; add it")
        return defaults

    def _no_model(self, where: str, name: str, models: Mapping[str, core.Model]) -> None:
        if name not in self._left_out:
            hint = nearest(name, models) or "; name one of the catalogue"
            self._faults.append(f"{where}: there is no model {name!r}{hint}")


def _sizes(written: list[tokens.Size] | SizeLimits) -> tuple[tokens.Size, ...] | core.SizeLimits:
    return core.SizeLimits(**written.model_dump()) if isinstance(written, SizeLimits) else tuple(written)
