#include <vector>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <sodium.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::crypto {

Sha256 sha256(ByteSpan bytes) noexcept {
    Sha256 out;
    SHA256(bytes.data(), bytes.size(), out.data());
    return out;
}

std::string sha256_hex(std::string_view text) {
    return to_hex(sha256(as_bytes(text)));
}

Sha256 hmac_sha256(ByteSpan key, ByteSpan bytes) noexcept {
    // The library takes the key's length as an int, and no pointer is no key to it.
    constexpr std::size_t kMaxKeyBytes = 0xffff;
    BLOOM_CHECK(key.size() <= kMaxKeyBytes);
    const std::uint8_t* const at =
        key.empty() ? reinterpret_cast<const std::uint8_t*>("") : key.data();
    Sha256 out{};
    unsigned n = 0;
    BLOOM_CHECK(HMAC(EVP_sha256(), at, static_cast<int>(key.size()), bytes.data(), bytes.size(),
                     out.data(), &n) != nullptr);
    BLOOM_CHECK(n == out.size());
    return out;
}

Sha256Stream::Sha256Stream() : context_(EVP_MD_CTX_new()) {
    // Fetched once: looking the algorithm up costs more than hashing a short text.
    static EVP_MD* const kAlgorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    BLOOM_CHECK(kAlgorithm != nullptr);
    BLOOM_CHECK(context_ != nullptr);
    BLOOM_CHECK(EVP_DigestInit_ex2(context_.get(), kAlgorithm, nullptr) == 1);
}

void Sha256Stream::update(ByteSpan bytes) noexcept {
    BLOOM_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Sha256 Sha256Stream::finish() noexcept {
    Sha256 out{};
    BLOOM_CHECK(EVP_DigestFinal_ex(context_.get(), out.data(), nullptr) == 1);
    return out;
}

void Sha256Stream::Free::operator()(evp_md_ctx_st* context) const noexcept {
    EVP_MD_CTX_free(context);
}

bool constant_time_equal(ByteSpan a, ByteSpan b) noexcept {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void random_bytes(MutableByteSpan out) noexcept {
    // sodium_init is idempotent and thread-safe; it only fails where no entropy source exists.
    BLOOM_CHECK(sodium_init() >= 0);
    randombytes_buf(out.data(), out.size());
}

Sha256 random_key() noexcept {
    Sha256 key{};
    random_bytes(key);
    return key;
}

std::string random_hex(std::size_t n_bytes) {
    std::vector<std::uint8_t> bytes(n_bytes);
    random_bytes(bytes);
    return to_hex(bytes);
}

std::string random_alphanumeric(std::size_t n) {
    static constexpr std::string_view kAlphabet =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    BLOOM_CHECK(sodium_init() >= 0);
    std::string out(n, '0');
    for (char& c : out)
        c = kAlphabet[randombytes_uniform(kAlphabet.size())];
    return out;
}

std::string uuid_v4() {
    std::array<std::uint8_t, 16> bytes{};
    random_bytes(bytes);
    bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0f) | 0x40);
    bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3f) | 0x80);
    const std::string hex = to_hex(bytes);
    std::string out;
    out.reserve(36);
    for (std::size_t i = 0; i < hex.size(); ++i) {
        if (i == 8 || i == 12 || i == 16 || i == 20) out += '-';
        out += hex[i];
    }
    return out;
}

} // namespace bloom::crypto
