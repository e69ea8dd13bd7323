#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <bloom/net/tcp.hpp>
#include <bloom/net/tls.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/when.hpp>

#include "support/co_test.hpp"

namespace bloom::net {
namespace {

using rt::Chunk;
using rt::StopToken;
using rt::Task;

/// A self-signed certificate for "localhost" and 127.0.0.1 in a directory of its own.
class Certificate {
public:
    explicit Certificate(const char* name = "localhost") {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "bloom-tls-XXXXXX").string();
        dir_ = ::mkdtemp(pattern.data());
        const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                      &EVP_PKEY_free);
        const std::unique_ptr<X509, decltype(&X509_free)> cert(X509_new(), &X509_free);
        X509_set_version(cert.get(), X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), 1);
        X509_gmtime_adj(X509_getm_notBefore(cert.get()), -3600);
        X509_gmtime_adj(X509_getm_notAfter(cert.get()), 3600);
        X509_set_pubkey(cert.get(), key.get());
        X509_NAME* subject = X509_get_subject_name(cert.get());
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
        X509_set_issuer_name(cert.get(), subject);
        const std::string alt = std::string("DNS:") + name + ",IP:127.0.0.1";
        X509_EXTENSION* san =
            X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, alt.c_str());
        X509_add_ext(cert.get(), san, -1);
        X509_EXTENSION_free(san);
        X509_sign(cert.get(), key.get(), EVP_sha256());
        write(cert_file(), [&](std::FILE* f) { PEM_write_X509(f, cert.get()); });
        write(key_file(), [&](std::FILE* f) {
            PEM_write_PrivateKey(f, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
        });
    }

    ~Certificate() { std::filesystem::remove_all(dir_); }

    std::string cert_file() const { return dir_ + "/cert.pem"; }

    std::string key_file() const { return dir_ + "/key.pem"; }

private:
    template <class F>
    static void write(const std::string& path, F f) {
        std::FILE* file = std::fopen(path.c_str(), "w");
        f(file);
        std::fclose(file);
    }

    std::string dir_;
};

Task<void> echo(TlsContext& tls, Listener& listener) {
    Result<Stream> plain = co_await listener.accept();
    CO_ASSERT_OK(plain);
    Result<Stream> stream = co_await tls_accept(tls, std::move(*plain), {});
    CO_ASSERT_OK(stream);
    EXPECT_TRUE(stream->is_tls());
    EXPECT_EQ(stream->alpn(), "http/1.1");
    for (;;) {
        Result<Chunk> in = co_await stream->recv();
        EXPECT_TRUE(in.has_value());
        if (!in || in->empty()) break;
        CO_ASSERT_OK(co_await stream->send_all(in->bytes()));
    }
    CO_ASSERT_OK(co_await stream->shutdown_send());
    co_await stream->close();
}

std::string pattern(std::size_t bytes) {
    std::string text(bytes, '\0');
    Rng rng(bytes);
    for (char& c : text)
        c = static_cast<char>(rng.next());
    return text;
}

Task<void> send_in_parts(Stream& stream, std::string text) {
    const std::size_t a = text.size() / 3;
    std::array<iovec, 3> parts{iovec{text.data(), a}, iovec{nullptr, 0},
                               iovec{text.data() + a, text.size() - a}};
    const Result<> sent = co_await stream.send_all(std::span<iovec>(parts));
    EXPECT_TRUE(sent.has_value());
    const Result<> ended = co_await stream.shutdown_send();
    EXPECT_TRUE(ended.has_value());
}

Task<std::string> recv_to_end(Stream& stream) {
    std::string got;
    for (;;) {
        Result<Chunk> in = co_await stream.recv();
        EXPECT_TRUE(in.has_value()) << in.error().message();
        if (!in || in->empty()) break;
        got += as_text(in->bytes());
    }
    co_return got;
}

Task<void> talk(TlsContext& tls, Address at, std::size_t bytes) {
    Result<Stream> plain = co_await connect(at);
    CO_ASSERT_OK(plain);
    Result<Stream> stream = co_await tls_connect(tls, std::move(*plain), "localhost", {});
    CO_ASSERT_OK(stream);
    const std::string text = pattern(bytes);
    auto [none, got] = co_await rt::when_all(send_in_parts(*stream, text), recv_to_end(*stream));
    EXPECT_EQ(got, text);
    co_await stream->close();
}

Task<void> echo_once(std::size_t bytes) {
    const Certificate certificate;
    auto server = TlsContext::server({certificate.cert_file(), certificate.key_file()});
    CO_ASSERT_OK(server);
    auto client = TlsContext::client({certificate.cert_file(), true});
    CO_ASSERT_OK(client);
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    co_await rt::when_all(echo(*server, *listener), talk(*client, listener->local(), bytes));
    co_await listener->close();
}

BLOOM_CO_TEST_BOTH(Tls, echoes) {
    for (const std::size_t bytes : {1UL, 1000UL, 16'384UL, 300'000UL})
        co_await echo_once(bytes);
}

Task<Result<>> refuse(TlsContext& tls, Listener& listener) {
    BLOOM_CO_TRY(Stream plain, co_await listener.accept());
    BLOOM_CO_TRY(Stream stream, co_await tls_accept(tls, std::move(plain), {}));
    // TLS 1.3: the server is done before the client has judged the certificate.
    Result<Chunk> in = co_await stream.recv();
    co_await stream.close();
    if (!in) co_return std::move(in).error();
    co_return Result<>();
}

Task<Result<>> dial(TlsContext& tls, Address at, std::string name) {
    BLOOM_CO_TRY(Stream plain, co_await connect(at));
    BLOOM_CO_TRY(Stream stream, co_await tls_connect(tls, std::move(plain), std::move(name), {}));
    co_await stream.close();
    co_return Result<>();
}

Task<Code> dial_code(const TlsClientOptions& options, const std::string& name) {
    const Certificate certificate;
    auto server = TlsContext::server({certificate.cert_file(), certificate.key_file()});
    TlsClientOptions with_file = options;
    if (with_file.ca_file == "own") with_file.ca_file = certificate.cert_file();
    auto client = TlsContext::client(with_file);
    auto listener = Listener::listen(Address::loopback(0));
    EXPECT_TRUE(server && client && listener);
    auto [refused, dialled] =
        co_await rt::when_all(refuse(*server, *listener), dial(*client, listener->local(), name));
    co_await listener->close();
    if (dialled) co_return Code::internal; // stands for "connected"
    EXPECT_FALSE(refused.has_value());
    co_return dialled.error().code();
}

BLOOM_CO_TEST_BOTH(Tls, checks_trust_and_name) {
    EXPECT_EQ(co_await dial_code({"", true}, "localhost"), Code::permission_denied);
    EXPECT_EQ(co_await dial_code({"own", true}, "other.example"), Code::permission_denied);
    EXPECT_EQ(co_await dial_code({"own", true}, "127.0.0.1"), Code::internal);
    EXPECT_EQ(co_await dial_code({"own", true}, "127.0.0.2"), Code::permission_denied);
    EXPECT_EQ(co_await dial_code({"", false}, "other.example"), Code::internal);
}

Task<Result<>> plain_text_client(Address at) {
    BLOOM_CO_TRY(Stream stream, co_await connect(at));
    const Result<> sent = co_await stream.send_all(as_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    Result<Chunk> answer = co_await stream.recv();
    co_await stream.close();
    if (!answer) co_return std::move(answer).error();
    co_return sent;
}

BLOOM_CO_TEST_BOTH(Tls, refuses_plain_text) {
    const Certificate certificate;
    auto server = TlsContext::server({certificate.cert_file(), certificate.key_file()});
    CO_ASSERT_OK(server);
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    auto [refused, asked] =
        co_await rt::when_all(refuse(*server, *listener), plain_text_client(listener->local()));
    CO_ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), Code::protocol_error);
    EXPECT_NE(refused.error().message().find("http request"), std::string_view::npos)
        << refused.error().message();
    co_await listener->close();
}

Task<Result<>> cut_off(TlsContext& tls, Address at) {
    BLOOM_CO_TRY(Stream plain, co_await connect(at));
    BLOOM_CO_TRY(Stream stream, co_await tls_connect(tls, std::move(plain), "localhost", {}));
    const Result<> sent = co_await stream.send_all(as_bytes("x"));
    Result<Chunk> answer = co_await stream.recv();
    EXPECT_TRUE(answer && answer->size() == 1);
    co_await stream.close(); // without close_notify
    co_return sent;
}

Task<Result<>> echo_one(TlsContext& tls, Listener& listener) {
    BLOOM_CO_TRY(Stream plain, co_await listener.accept());
    BLOOM_CO_TRY(Stream stream, co_await tls_accept(tls, std::move(plain), {}));
    Result<Chunk> in = co_await stream.recv();
    EXPECT_TRUE(in.has_value());
    if (in) EXPECT_TRUE((co_await stream.send_all(in->bytes())).has_value());
    Result<Chunk> end = co_await stream.recv();
    co_await stream.close();
    if (!end) co_return std::move(end).error();
    co_return Result<>();
}

BLOOM_CO_TEST_BOTH(Tls, a_truncated_stream_is_an_error) {
    const Certificate certificate;
    auto server = TlsContext::server({certificate.cert_file(), certificate.key_file()});
    auto client = TlsContext::client({certificate.cert_file(), true});
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_TRUE(server && client && listener);
    auto [served, dialled] =
        co_await rt::when_all(echo_one(*server, *listener), cut_off(*client, listener->local()));
    CO_ASSERT_OK(dialled);
    CO_ASSERT_FALSE(served.has_value());
    EXPECT_TRUE(served.error().code() == Code::truncated || served.error().code() == Code::closed);
    co_await listener->close();
}

BLOOM_CO_TEST_BOTH(Tls, a_silent_client_meets_the_deadline) {
    const Certificate certificate;
    auto server = TlsContext::server({certificate.cert_file(), certificate.key_file()});
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_TRUE(server && listener);
    Result<Stream> client = co_await connect(listener->local());
    CO_ASSERT_OK(client);
    Result<Stream> plain = co_await listener->accept();
    CO_ASSERT_OK(plain);
    rt::StopSource stop;
    stop.stop_after(std::chrono::milliseconds(5));
    Result<Stream> stream = co_await tls_accept(*server, std::move(*plain), stop.token());
    CO_ASSERT_FALSE(stream.has_value());
    EXPECT_EQ(stream.error().code(), Code::timeout);
    co_await client->close();
    co_await listener->close();
}

TEST(TlsContext, names_the_file_that_is_wrong) {
    const Certificate a;
    const Certificate b;
    auto missing = TlsContext::server({"/nonexistent/cert.pem", a.key_file()});
    ASSERT_FALSE(missing.has_value());
    EXPECT_EQ(missing.error().code(), Code::not_found);
    EXPECT_NE(missing.error().message().find("/nonexistent/cert.pem"), std::string_view::npos);
    auto swapped = TlsContext::server({a.key_file(), a.cert_file()});
    ASSERT_FALSE(swapped.has_value());
    EXPECT_EQ(swapped.error().code(), Code::corrupt);
    auto foreign = TlsContext::server({a.cert_file(), b.key_file()});
    ASSERT_FALSE(foreign.has_value());
    EXPECT_EQ(foreign.error().code(), Code::invalid_argument) << foreign.error().message();
    auto bad_ca = TlsContext::client({a.key_file(), true});
    ASSERT_FALSE(bad_ca.has_value());
    EXPECT_EQ(bad_ca.error().code(), Code::corrupt);
}

} // namespace
} // namespace bloom::net
