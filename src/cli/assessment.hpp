#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/engine/memory_need.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/registry/catalog.hpp>
#include <bloom/text/published_tokenizers.hpp>

namespace bloom::cli {

/// What a model is to this node: memory, catalog, tokenizer, what is special about it.
struct Assessment {
    engine::MemoryNeed need;
    const registry::CatalogEntry* entry = nullptr;      ///< of the catalog
    const registry::CatalogEntry* same_shape = nullptr; ///< where it is none
    std::string quantization;
    std::uint64_t usable_bytes = 0; ///< memory of this machine now; 0: unknown
    std::vector<std::string> features;

    struct TokenizerReport {
        std::string fault; ///< why it cannot be used; the rest is empty then
        std::int32_t n_tokens = 0;
        std::vector<std::int32_t> stop_ids;
        std::string fingerprint;
        const text::PublishedTokenizer* published = nullptr; ///< that behaves the same
        std::size_t n_vectors = 0;                           ///< texts whose ids are known
        std::vector<text::IdVector> failing;                 ///< of them
    };

    TokenizerReport tokenizer;
};

/// Cost: builds the tokenizer, up to a second for a large vocabulary; reads no weights.
Assessment assess(const engine::ModelFile& file, std::string_view source, std::int64_t n_layers,
                  bool precise);

/// Members of the object that is open.
void write_assessment(json::Writer& w, const Assessment& assessment);
std::string assessment_as_text(const Assessment& assessment);

} // namespace bloom::cli
