#include <filesystem>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/provider/model_folder.hpp>
#include <bloom/provider/model_source.hpp>
#include <bloom/provider/null_link.hpp>

// The model file as it is, in read-only data: nothing is copied or unpacked at start.
__asm__(".section .rodata\n"
        ".balign 64\n"
        ".globl bloom_built_in_model_begin\n"
        "bloom_built_in_model_begin:\n"
        ".incbin \"" BLOOM_BUILT_IN_MODEL "\"\n"
        ".globl bloom_built_in_model_end\n"
        "bloom_built_in_model_end:\n"
        ".byte 0\n"
        ".previous\n");

extern "C" {
extern const unsigned char bloom_built_in_model_begin[];
extern const unsigned char bloom_built_in_model_end[];
}

namespace bloom::provider {

namespace {

bool exists(std::string_view source) {
    if (source == kBuiltInModel || source == kNullModel) return true;
    std::error_code failure;
    return std::filesystem::exists(std::filesystem::path(source), failure);
}

} // namespace

ByteSpan built_in_model() noexcept {
    return {bloom_built_in_model_begin, bloom_built_in_model_end};
}

ModelSource ModelSource::parse(std::string_view text) {
    const registry::Catalog& catalog = registry::Catalog::built_in();
    const auto exists = [&](std::string_view source) {
        return provider::exists(source) || catalog.find(source) != nullptr;
    };
    if (exists(text)) return {std::string(text), {}};
    for (std::size_t at = text.rfind('='); at != std::string_view::npos && at != 0;
         at = text.rfind('=', at - 1)) {
        if (at + 1 < text.size() && exists(text.substr(0, at)))
            return {std::string(text.substr(0, at)), std::string(text.substr(at + 1))};
    }
    // Nothing is there: take the last '=' so that the error names the path, unless what follows
    // looks like one.
    const std::size_t at = text.rfind('=');
    if (at == std::string_view::npos || at == 0 || at + 1 == text.size() ||
        text.find('/', at) != std::string_view::npos) {
        return {std::string(text), {}};
    }
    return {std::string(text.substr(0, at)), std::string(text.substr(at + 1))};
}

Result<> check_model_source(std::string_view source) {
    if (exists(source)) return {};
    return Error{Code::not_found, fmt::format("model {}: no such file or folder; give a .gguf "
                                              "file, a folder with config.json and "
                                              "safetensors, or {}",
                                              bloom::quoted(source, 4096), kBuiltInModel)};
}

Result<engine::ModelFile> open_model(std::string_view source) {
    if (source == kBuiltInModel) {
        return engine::ModelFile::from_memory(built_in_model(), std::string(kBuiltInModel));
    }
    BLOOM_OK(check_model_source(source));
    return engine::ModelFile::open(std::filesystem::path(source));
}

std::string default_model_id(std::string_view source) {
    if (source == kBuiltInModel) return std::string(source);
    return names_of_path(std::filesystem::path(source)).front();
}

} // namespace bloom::provider
