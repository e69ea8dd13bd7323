#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <toml++/toml.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/registry/catalog.hpp>

// The file as it is, in read-only data.
__asm__(".section .rodata\n"
        ".globl bloom_catalog_begin\n"
        "bloom_catalog_begin:\n"
        ".incbin \"" BLOOM_CATALOG "\"\n"
        ".globl bloom_catalog_end\n"
        "bloom_catalog_end:\n"
        ".byte 0\n"
        ".previous\n");

extern "C" {
extern const char bloom_catalog_begin[];
extern const char bloom_catalog_end[];
}

namespace bloom::registry {
namespace {

constexpr std::int64_t kInt32Max = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxPrice = 1'000'000'000'000; // a million dollars for a million tokens
constexpr std::int64_t kMaxCount = std::int64_t{1} << 50;

/// Typed access to one table that remembers which members were asked for, so that misspelt ones are
/// errors.
class Members {
public:
    Members(const toml::table& table, std::string where)
        : table_(table), where_(std::move(where)) {}

    Error wrong(std::string_view key, std::string_view what) const {
        return Error{Code::invalid_argument, fmt::format("{}: {} {}", where_, key, what)};
    }

    Result<std::string> text(std::string_view key, bool needed) {
        const toml::node* const node = take(key);
        if (node == nullptr && !needed) return std::string();
        if (node == nullptr || !node->is_string()) return wrong(key, "must be a text");
        std::string value = node->as_string()->get();
        if (needed && value.empty()) return wrong(key, "must not be empty");
        return value;
    }

    Result<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max) {
        const toml::node* const node = take(key);
        const auto* const value = node == nullptr ? nullptr : node->as_integer();
        if (value == nullptr || value->get() < min || value->get() > max) {
            return wrong(key, fmt::format("must be a whole number from {} to {}", min, max));
        }
        return value->get();
    }

    Result<std::vector<std::string>> texts(std::string_view key) {
        std::vector<std::string> out;
        const toml::node* const node = take(key);
        if (node == nullptr) return out;
        if (!node->is_array()) return wrong(key, "must be a list of texts");
        for (const toml::node& element : *node->as_array()) {
            if (!element.is_string()) return wrong(key, "must be a list of texts");
            out.push_back(element.as_string()->get());
        }
        return out;
    }

    /// Unix seconds of a date.
    Result<std::int64_t> day(std::string_view key) {
        using namespace std::chrono;
        const toml::node* const node = take(key);
        if (node == nullptr || !node->is_date()) return wrong(key, "must be a date");
        const toml::date date = node->as_date()->get();
        const year_month_day day{year{date.year}, month{date.month},
                                 std::chrono::day{date.day}}; // toml++ accepts no impossible one
        return duration_cast<seconds>(sys_days(day).time_since_epoch()).count();
    }

    Result<const toml::table*> table(std::string_view key) {
        const toml::node* const node = take(key);
        if (node == nullptr || !node->is_table()) return wrong(key, "must be a table");
        return node->as_table();
    }

    bool has(std::string_view key) const { return table_.contains(key); }

    /// Errors: invalid_argument naming a member that nobody asked for.
    Result<> all_taken() const {
        for (const auto& [key, node] : table_) {
            if (!taken_.contains(key.str())) return wrong(key.str(), "is no member of a catalog");
        }
        return {};
    }

private:
    const toml::node* take(std::string_view key) {
        taken_.emplace(key);
        return table_.get(key);
    }

    const toml::table& table_;
    std::string where_;
    std::set<std::string, std::less<>> taken_;
};

/// Reads a member of a narrower integer type.
template <class T>
Result<> read_integer(Members& in, std::string_view key, std::int64_t min, std::int64_t max,
                      T& out) {
    BLOOM_TRY(const std::int64_t value, in.integer(key, min, max));
    out = static_cast<T>(value);
    return {};
}

Result<CatalogShape> read_shape(const toml::table& table, const std::string& where) {
    Members in(table, where);
    CatalogShape shape;
    BLOOM_TRY(shape.arch, in.text("arch", true));
    BLOOM_OK(read_integer(in, "layers", 1, kInt32Max, shape.n_layers));
    BLOOM_OK(read_integer(in, "width", 1, kInt32Max, shape.d_model));
    BLOOM_OK(read_integer(in, "heads", 1, kInt32Max, shape.n_heads));
    BLOOM_OK(read_integer(in, "vocabulary", 1, kInt32Max, shape.vocab_rows));
    if (in.has("experts")) BLOOM_OK(read_integer(in, "experts", 1, kInt32Max, shape.n_experts));
    BLOOM_OK(in.all_taken());
    return shape;
}

Result<> read_prices(Members& in, CatalogEntry& e) {
    BLOOM_OK(read_integer(in, "input_price", 0, kMaxPrice, e.input_price));
    BLOOM_OK(read_integer(in, "output_price", 0, kMaxPrice, e.output_price));
    e.cache_read_price = e.input_price / 2; // consumer API 18.2
    if (in.has("cache_read_price"))
        BLOOM_OK(read_integer(in, "cache_read_price", 0, e.input_price, e.cache_read_price));
    return {};
}

Result<CatalogEntry> read_entry(const toml::table& table, const std::string& where) {
    Members in(table, where);
    CatalogEntry e;
    BLOOM_TRY(e.id, in.text("id", true));
    BLOOM_TRY(e.public_alias, in.text("public_alias", false));
    BLOOM_TRY(e.aliases, in.texts("aliases"));
    BLOOM_TRY(e.repositories, in.texts("repositories"));
    BLOOM_TRY(e.gguf_repositories, in.texts("gguf_repositories"));
    BLOOM_TRY(e.words, in.texts("words"));
    BLOOM_TRY(e.display_name, in.text("display_name", true));
    BLOOM_TRY(e.description, in.text("description", false));
    BLOOM_TRY(e.family, in.text("family", true));
    BLOOM_TRY(e.architecture, in.text("architecture", true));
    BLOOM_TRY(e.quantization, in.text("quantization", true));
    BLOOM_OK(read_integer(in, "parameters", 1, kMaxCount, e.parameters));
    BLOOM_OK(read_integer(in, "active_parameters", 1, e.parameters, e.active_parameters));
    BLOOM_OK(read_integer(in, "size_gb", 0, kInt32Max, e.size_gb));
    BLOOM_OK(read_integer(in, "min_ram_gb", 0, kInt32Max, e.min_ram_gb));
    BLOOM_OK(read_prices(in, e));
    BLOOM_OK(read_integer(in, "context_length", 1, kInt32Max, e.context_length));
    BLOOM_OK(read_integer(in, "max_output_length", 1, e.context_length, e.max_output_length));
    BLOOM_TRY(e.capabilities, in.texts("capabilities"));
    BLOOM_TRY(e.released, in.day("released"));
    BLOOM_TRY(const toml::table* shape, in.table("shape"));
    BLOOM_TRY(e.shape, read_shape(*shape, where + ": shape"));
    BLOOM_OK(in.all_taken());
    return e;
}

/// What comes behind the organisation.
std::string_view base_name(std::string_view name) noexcept {
    const std::size_t slash = name.rfind('/');
    return slash == std::string_view::npos ? name : name.substr(slash + 1);
}

/// Calls `use` with every name of an entry until it says true.
template <class Use>
bool any_name(const CatalogEntry& e, const Use& use) {
    if (use(e.id) || (!e.public_alias.empty() && use(e.public_alias))) return true;
    return std::ranges::any_of(e.aliases, use) || std::ranges::any_of(e.repositories, use) ||
           std::ranges::any_of(e.gguf_repositories, use);
}

/// Whether all words stand in `name`. Words are runs of letters, digits and dots.
bool has_words(std::string_view name, const std::vector<std::string>& words) {
    std::set<std::string, std::less<>> found;
    std::string word;
    for (std::size_t i = 0; i <= name.size(); ++i) {
        const char c = i < name.size() ? to_lower_ascii(name[i]) : ' ';
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.') {
            word += c;
        } else if (!word.empty()) {
            found.insert(std::exchange(word, {}));
        }
    }
    return std::ranges::all_of(words, [&](const std::string& w) { return found.contains(w); });
}

/// Ids and aliases go into URLs, paths and listings.
bool is_model_name(std::string_view name) noexcept {
    if (name.empty() || name.size() > kMaxModelNameBytes) return false;
    return std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-' || c == '/';
    });
}

Result<> check_names(std::span<const CatalogEntry> entries, std::string_view file_name) {
    std::set<std::string_view> seen;
    for (const CatalogEntry& e : entries) {
        std::set<std::string_view> own;
        std::string_view bad;
        any_name(e, [&](std::string_view name) {
            // Repositories may be named as aliases are, but not by two entries.
            if (!is_model_name(name) || (!own.contains(name) && seen.contains(name))) bad = name;
            own.insert(name);
            return !bad.empty();
        });
        if (!bad.empty()) {
            return Error{Code::invalid_argument,
                         fmt::format("{}: {} has the name {}, which {}", file_name,
                                     bloom::quoted(e.id), bloom::quoted(bad),
                                     is_model_name(bad)
                                         ? "another entry has already"
                                         : "is empty, too long or has a character besides letters, "
                                           "digits, '.', '_', '-' and '/'")};
        }
        seen.merge(own);
    }
    return {};
}

} // namespace

bool is_name_of(const CatalogEntry& entry, std::string_view name) noexcept {
    const std::string_view wanted = base_name(name);
    return any_name(entry,
                    [&](std::string_view known) { return iequals(base_name(known), wanted); });
}

Result<Catalog> Catalog::parse(std::string_view text, std::string_view file_name) {
    if (text.size() > kMaxCatalogBytes) {
        return Error{Code::too_large, fmt::format("{}: {} bytes; a catalog has at most {}",
                                                  file_name, text.size(), kMaxCatalogBytes)};
    }
    Catalog out;
    try {
        const toml::table root = toml::parse(text, file_name);
        for (const auto& [key, node] : root) {
            if (key.str() != "model" || !node.is_array_of_tables()) {
                return Error{Code::invalid_argument,
                             fmt::format("{}:{}: {} is not a [[model]]", file_name,
                                         node.source().begin.line, bloom::quoted(key.str()))};
            }
            for (const toml::node& element : *node.as_array()) {
                if (out.entries_.size() == kMaxCatalogEntries) {
                    return Error{Code::too_large, fmt::format("{}: more than {} models", file_name,
                                                              kMaxCatalogEntries)};
                }
                const std::string where =
                    fmt::format("{}:{}", file_name, element.source().begin.line);
                BLOOM_TRY(CatalogEntry entry, read_entry(*element.as_table(), where));
                out.entries_.push_back(std::move(entry));
            }
        }
    } catch (const toml::parse_error& failure) {
        return Error{Code::invalid_argument,
                     fmt::format("{}:{}: {}", file_name, failure.source().begin.line,
                                 failure.description())};
    }
    BLOOM_OK(check_names(out.entries_, file_name));
    std::ranges::sort(out.entries_, [](const CatalogEntry& a, const CatalogEntry& b) {
        return a.min_ram_gb != b.min_ram_gb ? a.min_ram_gb < b.min_ram_gb : a.id < b.id;
    });
    return out;
}

const Catalog& Catalog::built_in() {
    static const Catalog catalog = [] {
        auto parsed = parse({bloom_catalog_begin, bloom_catalog_end}, "catalog/models.toml");
        BLOOM_CHECK(parsed.has_value()); // part of the binary, tested with it
        return std::move(*parsed);
    }();
    return catalog;
}

const CatalogEntry* Catalog::find(std::string_view name) const noexcept {
    for (const CatalogEntry& e : entries_) {
        if (any_name(e, [&](std::string_view known) { return known == name; })) return &e;
    }
    return nullptr;
}

const CatalogEntry* Catalog::recognise(const ModelFacts& facts) const {
    const auto fits = [&](const CatalogEntry& e) {
        return e.shape == facts.shape && e.quantization == facts.quantization;
    };
    for (const CatalogEntry& e : entries_) {
        if (!fits(e)) continue;
        if (std::ranges::any_of(facts.names, [&](auto& name) { return is_name_of(e, name); }))
            return &e;
    }
    for (const CatalogEntry& e : entries_) {
        if (!fits(e) || e.words.empty()) continue;
        if (std::ranges::any_of(facts.names, [&](auto& name) { return has_words(name, e.words); }))
            return &e;
    }
    return nullptr;
}

const CatalogEntry* Catalog::same_shape(const CatalogShape& shape) const noexcept {
    const auto at = std::ranges::find(entries_, shape, &CatalogEntry::shape);
    return at == entries_.end() ? nullptr : &*at;
}

} // namespace bloom::registry
