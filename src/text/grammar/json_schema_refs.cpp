#include "text/grammar/json_schema_refs.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

namespace bloom::text::schema {
namespace {

/// Keywords whose value is a schema, a list of schemas or an object of schemas.
constexpr std::array<std::string_view, 15> kSchemaKeywords{"additionalItems",
                                                           "additionalProperties",
                                                           "contains",
                                                           "contentSchema",
                                                           "else",
                                                           "if",
                                                           "items",
                                                           "not",
                                                           "propertyNames",
                                                           "then",
                                                           "unevaluatedItems",
                                                           "unevaluatedProperties",
                                                           "allOf",
                                                           "anyOf",
                                                           "oneOf"};
constexpr std::array<std::string_view, 7> kSchemaMaps{
    "$defs",       "definitions",       "dependencies", "dependentSchemas",
    "prefixItems", "patternProperties", "properties"};

struct Uri {
    std::optional<std::string_view> scheme;
    std::optional<std::string_view> authority;
    std::string_view path;
    std::optional<std::string_view> query;
};

/// RFC 3986 appendix B, for texts without a fragment.
Uri split(std::string_view text) {
    Uri out;
    const std::size_t colon = text.find_first_of(":/?");
    if (colon != std::string_view::npos && colon > 0 && text[colon] == ':') {
        out.scheme = text.substr(0, colon);
        text.remove_prefix(colon + 1);
    }
    if (text.starts_with("//")) {
        text.remove_prefix(2);
        const std::size_t end = std::min(text.find_first_of("/?"), text.size());
        out.authority = text.substr(0, end);
        text.remove_prefix(end);
    }
    const std::size_t mark = text.find('?');
    if (mark != std::string_view::npos) out.query = text.substr(mark + 1);
    out.path = text.substr(0, mark);
    return out;
}

/// RFC 3986 5.2.4.
std::string without_dots(std::string_view path) {
    std::vector<std::string_view> kept;
    const bool rooted = path.starts_with('/');
    std::string_view last;
    std::size_t at = rooted ? 1 : 0;
    while (at <= path.size()) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        last = path.substr(at, end - at);
        if (last == "..") {
            if (!kept.empty()) kept.pop_back();
        } else if (last != ".") {
            kept.push_back(last);
        }
        at = end + 1;
    }
    std::string out = rooted ? "/" : "";
    for (std::size_t i = 0; i < kept.size(); ++i)
        out.append(i > 0 ? "/" : "").append(kept[i]);
    if ((last == "." || last == "..") && !kept.empty()) out += '/';
    return out;
}

std::string percent_decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        if (text[i] == '%' && i + 2 < text.size() &&
            std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr ==
                text.data() + i + 3) {
            out += static_cast<char>(value);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::pair<std::string, std::string> cut_fragment(std::string_view uri) {
    const std::size_t hash = uri.find('#');
    if (hash == std::string_view::npos) return {std::string(uri), {}};
    return {std::string(uri.substr(0, hash)), std::string(uri.substr(hash + 1))};
}

std::string unescaped(std::string_view step) {
    std::string out;
    for (std::size_t i = 0; i < step.size(); ++i) {
        if (step[i] == '~' && i + 1 < step.size() && (step[i + 1] == '0' || step[i + 1] == '1')) {
            out += step[++i] == '0' ? '~' : '/';
        } else {
            out += step[i];
        }
    }
    return out;
}

const Value* follow(const Value& from, std::string_view pointer) {
    const Value* at = &from;
    while (!pointer.empty() && at != nullptr) {
        pointer.remove_prefix(1); // the slash
        const std::size_t end = std::min(pointer.find('/'), pointer.size());
        const std::string step = unescaped(pointer.substr(0, end));
        pointer.remove_prefix(end);
        if (at->is(ValueKind::array)) {
            std::size_t index = 0;
            const auto [stop, fault] =
                std::from_chars(step.data(), step.data() + step.size(), index);
            const bool good = fault == std::errc() && stop == step.data() + step.size();
            at = good && index < at->items.size() ? at->items[index] : nullptr;
        } else {
            at = at->find(step);
        }
    }
    return at;
}

} // namespace

std::string resolve_uri(std::string_view base, std::string_view reference) {
    if (reference.empty()) return std::string(base);
    const Uri from = split(base);
    const Uri to = split(reference);
    Uri out = to;
    std::string path;
    if (to.scheme || to.authority) {
        path = without_dots(to.path);
        if (!to.scheme) out.scheme = from.scheme;
    } else {
        out.scheme = from.scheme;
        out.authority = from.authority;
        if (to.path.empty()) {
            path = from.path;
            if (!to.query) out.query = from.query;
        } else if (to.path.starts_with('/')) {
            path = without_dots(to.path);
        } else {
            const std::size_t slash = from.path.rfind('/');
            std::string merged = from.authority && from.path.empty() ? "/" : "";
            if (slash != std::string_view::npos) merged = from.path.substr(0, slash + 1);
            path = without_dots(merged.append(to.path));
        }
    }
    // Names without a hierarchy (urn:uuid:..) stay as they are.
    if (to.scheme && !to.authority && !to.path.starts_with('/')) path = to.path;
    std::string text;
    if (out.scheme) text.append(*out.scheme).append(":");
    if (out.authority) text.append("//").append(*out.authority);
    text += path;
    if (out.query) text.append("?").append(*out.query);
    return text;
}

Result<References> References::index(const Value& root) {
    References out;
    out.root_ = &root;
    if (const Value* name = root.find("$schema"); name != nullptr && name->is(ValueKind::string)) {
        const bool old = name->text.find("draft-07") != std::string::npos ||
                         name->text.find("draft-06") != std::string::npos;
        if (old) out.draft_ = Draft::draft7;
        if (name->text.find("json-schema.org/") == std::string::npos) {
            return Error{Code::unsupported, "$schema names a dialect that is not known: \"" +
                                                name->text.substr(0, 120) + "\" (at #/$schema)"};
        }
    }
    out.documents_.emplace("", &root);
    BLOOM_OK(out.walk(root));
    return out;
}

Result<> References::walk(const Value& top) {
    std::vector<const Value*> open{&top};
    while (!open.empty()) {
        const Value& schema = *open.back();
        open.pop_back();
        if (!schema.is(ValueKind::object) || !seen_.insert(&schema).second) continue;
        BLOOM_OK(enter(schema));
        const auto push_all = [&](const Value& container) {
            for (const Value* item : container.items)
                open.push_back(item);
            for (const Value::Member& m : container.members)
                open.push_back(m.value);
        };
        for (const Value::Member& m : schema.members) {
            if (std::ranges::find(kSchemaMaps, m.key) != kSchemaMaps.end()) {
                push_all(*m.value);
            } else if (std::ranges::find(kSchemaKeywords, m.key) != kSchemaKeywords.end()) {
                open.push_back(m.value);
                if (m.value->is(ValueKind::array)) push_all(*m.value);
            }
        }
    }
    return {};
}

/// Notes the identifier and anchors of one schema.
Result<> References::enter(const Value& schema) {
    if (draft_ == Draft::draft7 && schema.find("$ref") != nullptr) return {};
    const auto text_of = [&](std::string_view key) -> Result<const Value*> {
        const Value* value = schema.find(key);
        if (value != nullptr && !value->is(ValueKind::string)) {
            return Error{Code::invalid_argument,
                         std::string(key) + " must be a string (at " + pointer_to(*value) + ')'};
        }
        return value;
    };
    BLOOM_TRY(const Value* id, text_of("$id"));
    if (id != nullptr) {
        const auto [name, fragment] = cut_fragment(id->text);
        const std::string parent = schema.parent == nullptr ? "" : base_of(*schema.parent);
        if (!name.empty()) {
            const std::string full = resolve_uri(parent, name);
            documents_.emplace(full, &schema);
            bases_.emplace(&schema, full);
        }
        if (!fragment.empty() && !fragment.starts_with('/')) {
            anchors_.emplace(base_of(schema) + '#' + fragment, &schema);
        }
    }
    for (const std::string_view key : {"$anchor", "$dynamicAnchor"}) {
        if (draft_ == Draft::draft7) break;
        BLOOM_TRY(const Value* anchor, text_of(key));
        if (anchor != nullptr) anchors_.emplace(base_of(schema) + '#' + anchor->text, &schema);
    }
    return {};
}

std::string References::base_of(const Value& schema) const {
    for (const Value* v = &schema; v != nullptr; v = v->parent) {
        const auto it = bases_.find(v);
        if (it != bases_.end()) return it->second;
    }
    return {};
}

Result<const Value*> References::resolve(const Value& schema) {
    const Value* ref = schema.find("$ref");
    if (ref == nullptr || !ref->is(ValueKind::string)) {
        return Error{Code::invalid_argument,
                     "$ref must be a string (at " + pointer_to(schema, "$ref") + ')'};
    }
    // An identifier beside a $ref changes where the reference is seen from, except in draft 7,
    // where enter() passes it over.
    const auto [name, fragment] = cut_fragment(ref->text);
    const std::string document = resolve_uri(base_of(schema), name);
    const auto found = documents_.find(document);
    const std::string shown = '"' + ref->text.substr(0, 120) + "\" (at " + pointer_to(*ref) + ')';
    if (found == documents_.end()) {
        return Error{Code::unsupported, "$ref leads outside of the schema: " + shown};
    }
    const std::string plain = percent_decoded(fragment);
    const Value* target = nullptr;
    if (plain.empty() || plain.starts_with('/')) {
        target = follow(*found->second, plain);
    } else if (const auto it = anchors_.find(document + '#' + plain); it != anchors_.end()) {
        target = it->second;
    }
    if (target == nullptr) return Error{Code::invalid_argument, "$ref leads nowhere: " + shown};
    // A pointer may lead to a place that no keyword names.
    BLOOM_OK(walk(*target));
    return target;
}

} // namespace bloom::text::schema
