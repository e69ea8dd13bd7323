#include <algorithm>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <bloom/base/text.hpp>
#include <bloom/crypto/sign.hpp>

namespace bloom::crypto {
namespace {

constexpr const char* kCurve = "prime256v1"; // the library's name of P-256
constexpr const char* kDigest = "SHA256";

/// What stands in front of the point: SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT
/// STRING of 66 bytes with no unused bits (RFC 5480 section 2).
constexpr std::array<std::uint8_t, 26> kSpkiPrefix{
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};

constexpr std::uint8_t kUncompressed = 0x04;
constexpr std::size_t kCoordinateBytes = 32;

struct Free {
    void operator()(EVP_PKEY_CTX* p) const noexcept { EVP_PKEY_CTX_free(p); }

    void operator()(EVP_MD_CTX* p) const noexcept { EVP_MD_CTX_free(p); }

    void operator()(BIO* p) const noexcept { BIO_free_all(p); }

    void operator()(BIGNUM* p) const noexcept { BN_free(p); }
};

template <class T>
using Owned = std::unique_ptr<T, Free>;

std::shared_ptr<EVP_PKEY> share(EVP_PKEY* key) {
    return {key, [](EVP_PKEY* p) { EVP_PKEY_free(p); }};
}

/// The library's queue of errors is the thread's and TLS reads it: nothing of ours stays there.
Error library_error(Code code, const char* what) {
    ERR_clear_error();
    return Error{code, what};
}

std::shared_ptr<EVP_PKEY> import_point(ByteSpan point) {
    const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
    if (!context || EVP_PKEY_fromdata_init(context.get()) != 1) return nullptr;
    // The interface takes pointers to mutable data and only reads it.
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, const_cast<char*>(kCurve), 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
                                          const_cast<std::uint8_t*>(point.data()), point.size()),
        OSSL_PARAM_construct_end()};
    EVP_PKEY* key = nullptr;
    if (EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        return nullptr;
    return share(key);
}

bool take_coordinate(const EVP_PKEY* key, const char* name, MutableByteSpan out) {
    BIGNUM* number = nullptr;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1) return false;
    const Owned<BIGNUM> owned(number);
    return BN_bn2binpad(number, out.data(), static_cast<int>(out.size())) ==
           static_cast<int>(out.size());
}

bool is_p256(const EVP_PKEY* key) {
    char group[64] = {};
    std::size_t n_group = 0;
    return EVP_PKEY_is_a(key, "EC") == 1 &&
           EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                          &n_group) == 1 &&
           std::string_view(group, n_group) == kCurve;
}

/// Encrypted files are not asked about on the terminal.
int no_password(char* /*out*/, int /*size*/, int /*writing*/, void* /*context*/) {
    return -1;
}

} // namespace

Result<VerifyKey> VerifyKey::from_point(ByteSpan point) {
    P256Point copy{};
    if (point.size() != copy.size() || point[0] != kUncompressed) {
        return Error{Code::invalid_argument,
                     "not a P-256 public key: expected 65 bytes, the first of them 4"};
    }
    std::shared_ptr<EVP_PKEY> key = import_point(point);
    if (key == nullptr)
        return library_error(Code::invalid_argument,
                             "not a P-256 public key: the point is not on the curve");
    std::copy(point.begin(), point.end(), copy.begin());
    return VerifyKey(std::move(key), copy);
}

Result<VerifyKey> VerifyKey::from_spki(ByteSpan der) {
    if (der.size() != kSpkiPrefix.size() + P256Point{}.size() ||
        !std::equal(kSpkiPrefix.begin(), kSpkiPrefix.end(), der.begin())) {
        return Error{Code::invalid_argument,
                     "not a P-256 public key: expected a SubjectPublicKeyInfo of 91 bytes"};
    }
    return from_point(der.subspan(kSpkiPrefix.size()));
}

Result<VerifyKey> VerifyKey::from_base64(std::string_view text) {
    const auto bytes = bloom::from_base64(text);
    if (!bytes) {
        return Error{Code::invalid_argument, "not a P-256 public key: expected base64"};
    }
    return bytes->size() == P256Point{}.size() ? from_point(*bytes) : from_spki(*bytes);
}

std::vector<std::uint8_t> VerifyKey::spki() const {
    std::vector<std::uint8_t> out(kSpkiPrefix.begin(), kSpkiPrefix.end());
    out.insert(out.end(), point_.begin(), point_.end());
    return out;
}

std::string VerifyKey::spki_base64() const {
    return to_base64(spki());
}

bool VerifyKey::verify(ByteSpan message, ByteSpan signature) const {
    const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
    const bool fine = context != nullptr &&
                      EVP_DigestVerifyInit_ex(context.get(), nullptr, kDigest, nullptr, nullptr,
                                              key_.get(), nullptr) == 1 &&
                      EVP_DigestVerify(context.get(), signature.data(), signature.size(),
                                       message.data(), message.size()) == 1;
    if (!fine) ERR_clear_error();
    return fine;
}

Result<SigningKey> SigningKey::generate() {
    std::shared_ptr<EVP_PKEY> key = share(EVP_EC_gen(kCurve));
    if (key == nullptr) return library_error(Code::internal, "no P-256 key could be generated");
    return from_library(std::move(key));
}

Result<SigningKey> SigningKey::from_pem(std::string_view pem) {
    constexpr std::size_t kPemBytesMax = std::size_t{64} << 10;
    if (pem.size() > kPemBytesMax ||
        pem.find("-----BEGIN PRIVATE KEY-----") == std::string_view::npos) {
        return Error{Code::corrupt, "not an unencrypted private key in PEM (PKCS#8)"};
    }
    const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    if (!bio) return library_error(Code::internal, "no memory for a key");
    std::shared_ptr<EVP_PKEY> key =
        share(PEM_read_bio_PrivateKey(bio.get(), nullptr, &no_password, nullptr));
    if (key == nullptr) return library_error(Code::corrupt, "the private key cannot be read");
    if (!is_p256(key.get())) {
        return library_error(Code::unsupported, "the private key is not one of P-256");
    }
    const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
    if (!context || EVP_PKEY_check(context.get()) != 1)
        return library_error(Code::corrupt, "the halves of the private key do not fit");
    return from_library(std::move(key));
}

Result<SigningKey> SigningKey::from_library(std::shared_ptr<EVP_PKEY> key) {
    P256Point point{kUncompressed};
    const MutableByteSpan bytes(point);
    if (!take_coordinate(key.get(), OSSL_PKEY_PARAM_EC_PUB_X, bytes.subspan(1, kCoordinateBytes)) ||
        !take_coordinate(key.get(), OSSL_PKEY_PARAM_EC_PUB_Y, bytes.last(kCoordinateBytes))) {
        return library_error(Code::internal, "the private key has no public half");
    }
    BLOOM_TRY(VerifyKey half, VerifyKey::from_point(point));
    return SigningKey(std::move(key), std::move(half));
}

Result<std::string> SigningKey::to_pem() const {
    const Owned<BIO> bio(BIO_new(BIO_s_secmem()));
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr,
                                              nullptr) != 1) {
        return library_error(Code::internal, "the private key cannot be written");
    }
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    if (size <= 0) return library_error(Code::internal, "the private key cannot be written");
    return std::string(data, static_cast<std::size_t>(size));
}

Result<std::vector<std::uint8_t>> SigningKey::sign(ByteSpan message) const {
    const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
    std::vector<std::uint8_t> out(static_cast<std::size_t>(EVP_PKEY_get_size(key_.get())));
    std::size_t size = out.size();
    if (!context ||
        EVP_DigestSignInit_ex(context.get(), nullptr, kDigest, nullptr, nullptr, key_.get(),
                              nullptr) != 1 ||
        EVP_DigestSign(context.get(), out.data(), &size, message.data(), message.size()) != 1) {
        return library_error(Code::internal, "a signature could not be made");
    }
    out.resize(size);
    return out;
}

void wipe(std::string& secret) noexcept {
    OPENSSL_cleanse(secret.data(), secret.size());
    secret.clear();
}

} // namespace bloom::crypto
