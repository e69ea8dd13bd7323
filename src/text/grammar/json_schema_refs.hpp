#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>

#include "text/grammar/json_schema_value.hpp"

namespace bloom::text::schema {

/// How a schema spells things, by its `$schema`.
enum class Draft : std::uint8_t {
    draft7, ///< drafts 6 and 7: `$ref` hides its neighbours, `items` may be a list
    current ///< 2019-09 and 2020-12, and whatever does not say
};

/// Where references of one schema document lead: identifiers, anchors and JSON pointers inside it.
/// Lifetime: of the document.
class References {
public:
    /// Errors: invalid_argument ($id, $anchor of a wrong type), unsupported (another dialect).
    static Result<References> index(const Value& root);

    Draft draft() const noexcept { return draft_; }

    /// The schema that `$ref` of `schema` means. Errors: unsupported (outside of the document),
    /// invalid_argument (nothing there).
    Result<const Value*> resolve(const Value& schema);

private:
    Result<> walk(const Value& schema);
    Result<> enter(const Value& schema);
    std::string base_of(const Value& schema) const;

    const Value* root_ = nullptr;
    Draft draft_ = Draft::current;
    std::map<std::string, const Value*, std::less<>> documents_; ///< by absolute identifier
    std::map<const Value*, std::string> bases_;                  ///< of schemas with an identifier
    std::map<std::string, const Value*, std::less<>> anchors_;   ///< identifier#name
    std::set<const Value*> seen_;
};

/// RFC 3986 section 5.2: `reference` as seen from `base`.
std::string resolve_uri(std::string_view base, std::string_view reference);

} // namespace bloom::text::schema
