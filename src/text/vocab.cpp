#include <bloom/base/text.hpp>
#include <bloom/text/vocab.hpp>

namespace bloom::text {

Result<VocabKind> vocab_kind_from_gguf(std::string_view model) {
    if (model == "gpt2") return VocabKind::byte_bpe;
    if (model == "llama") return VocabKind::spm;
    if (model == "gemma4") return VocabKind::char_bpe;
    return Error{Code::unsupported, "the tokenizer model " + quoted(model) +
                                        " is not supported (known: gpt2, llama, gemma4)"};
}

} // namespace bloom::text
