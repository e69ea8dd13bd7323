#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

/// The models that are known by name, whether or not anybody serves them: ids, prices and what
/// recognises their files. Data, not code: catalog/models.toml.
namespace bloom::registry {

/// What a model file must agree with to be a catalog entry's.
struct CatalogShape {
    std::string arch; ///< as engine::to_string(Arch) says it
    std::int64_t n_layers = 0;
    std::int64_t d_model = 0;
    std::int64_t n_heads = 0;
    std::int64_t vocab_rows = 0;
    std::int64_t n_experts = 0;

    bool operator==(const CatalogShape&) const = default;
};

struct CatalogEntry {
    std::string id; ///< of the build: what providers are asked for
    /// Stands for the build in listings, where the build's own id is then hidden; may be empty.
    std::string public_alias;
    std::vector<std::string> aliases;           ///< further names that requests may use
    std::vector<std::string> repositories;      ///< ORG/NAME where the files are published
    std::vector<std::string> gguf_repositories; ///< the same for GGUF files
    std::vector<std::string> words;             ///< must all stand in the name of a file of it
    std::string display_name;
    std::string description;
    std::string family;
    std::string architecture; ///< for people: "26B MoE, 4B active"
    std::string quantization; ///< "8bit"
    std::int64_t parameters = 0;
    std::int64_t active_parameters = 0; ///< of them, what one token uses
    std::int32_t size_gb = 0;           ///< of the files, 10^9 bytes
    std::int32_t min_ram_gb = 0;
    std::int64_t input_price = 0;      ///< micro-USD per million prompt tokens
    std::int64_t output_price = 0;     ///< micro-USD per million generated tokens
    std::int64_t cache_read_price = 0; ///< the same for cached prompt tokens; half of input_price
                                       ///< where the file says nothing
    std::int32_t context_length = 0;
    std::int32_t max_output_length = 0;
    std::vector<std::string> capabilities; ///< "text", "tools", "reasoning"
    std::int64_t released = 0;             ///< Unix seconds of the day
    CatalogShape shape;

    /// What listings call it.
    const std::string& public_id() const noexcept {
        return public_alias.empty() ? id : public_alias;
    }
};

/// What is known about a model file before it is loaded.
struct ModelFacts {
    CatalogShape shape;
    std::string quantization;
    /// The file's own name, its folder's, the repository's in a download cache, a given alias.
    std::vector<std::string> names;
};

// Bounds of a catalog file.
inline constexpr std::size_t kMaxCatalogBytes = std::size_t{4} << 20;
inline constexpr std::size_t kMaxCatalogEntries = 10'000;
inline constexpr std::size_t kMaxModelNameBytes = 128; ///< ids and aliases, consumer API 9.2

/// Immutable. Thread: any.
class Catalog {
public:
    /// Reads a TOML text. Errors: invalid_argument naming the line, the member and what is wrong;
    /// a name that two entries have is one.
    static Result<Catalog> parse(std::string_view toml, std::string_view file_name);

    /// The one that is compiled in.
    static const Catalog& built_in();

    /// By minimum RAM, then id.
    std::span<const CatalogEntry> entries() const noexcept { return entries_; }

    /// By id, public alias, alias or repository, exactly as written; nullptr if unknown.
    const CatalogEntry* find(std::string_view name) const noexcept;

    /// The entry that a file is: shape and quantisation agree, and one of its names is one of the
    /// entry's (ASCII case ignored, organisations left out) or holds all of its words. nullptr for
    /// none.
    const CatalogEntry* recognise(const ModelFacts& facts) const;
    /// The first entry of that shape, whatever the file is called and however it is quantised.
    const CatalogEntry* same_shape(const CatalogShape& shape) const noexcept;

private:
    std::vector<CatalogEntry> entries_;
};

/// Whether `name` calls an entry by one of its names: ASCII case and organisations do not count.
bool is_name_of(const CatalogEntry& entry, std::string_view name) noexcept;

} // namespace bloom::registry
