#include <array>
#include <cerrno>
#include <cstring>
#include <unistd.h>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/net/tls.hpp>

#include "net/tls_layer.hpp"

namespace bloom::net {

struct TlsContext::Impl {
    std::unique_ptr<SSL_CTX, SslFree> context;
    bool verify = true;
};

namespace {

// One protocol, in the wire form of RFC 7301 3.1: a length, then the name.
constexpr std::array<unsigned char, 9> kAlpn{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size,
                const unsigned char* offered, unsigned offered_size, void*) {
    unsigned char* chosen = nullptr;
    const int rc =
        SSL_select_next_proto(&chosen, out_size, kAlpn.data(), kAlpn.size(), offered, offered_size);
    // RFC 7301 3.2: a client that offers only what we do not speak gets no_application_protocol.
    if (rc != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/// OpenSSL would ask on the terminal.
int no_passphrase(char*, int, int, void*) {
    return 0;
}

Result<> check_readable(const std::string& file, const char* what) {
    if (::access(file.c_str(), R_OK) == 0) return {};
    const int sys_errno = errno;
    const Code code = sys_errno == ENOENT ? Code::not_found : Code::permission_denied;
    return Error(code, std::string(what) + " " + quoted(file) + ": " + std::strerror(sys_errno),
                 sys_errno);
}

Result<std::unique_ptr<SSL_CTX, SslFree>> new_context(const SSL_METHOD* method) {
    std::unique_ptr<SSL_CTX, SslFree> context(SSL_CTX_new(method));
    if (context == nullptr) return Error(Code::internal, take_ssl_error("SSL_CTX_new"));
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    // Idle connections keep no record buffers.
    SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(context.get(), &no_passphrase);
    return context;
}

Result<std::unique_ptr<SSL, SslFree>> new_session(TlsContext::Impl& impl) {
    std::unique_ptr<SSL, SslFree> ssl(SSL_new(impl.context.get()));
    if (ssl == nullptr) return Error(Code::out_of_memory, take_ssl_error("SSL_new"));
    return ssl;
}

/// Sends the name and has it checked; an IP address is checked but may not be sent (RFC 6066 3).
Result<> expect_name(SSL* ssl, const std::string& name) {
    X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl);
    if (Address::from_ip(name, 0)) {
        if (X509_VERIFY_PARAM_set1_ip_asc(wanted, name.c_str()) == 1) return {};
    } else if (SSL_set_tlsext_host_name(ssl, name.c_str()) == 1 &&
               SSL_set1_host(ssl, name.c_str()) == 1) {
        return {};
    }
    return Error(Code::invalid_argument, take_ssl_error("server name " + quoted(name)));
}

rt::Task<Result<Stream>> shake_hands(std::unique_ptr<SSL, SslFree> ssl, Stream stream,
                                     rt::StopToken stop) {
    auto made =
        std::make_unique<TlsLayer>(std::move(ssl), stream.raw_source(), stream.raw_handle());
    TlsLayer& layer = *made;
    stream.set_layer(std::move(made));
    Result<> done = co_await layer.handshake(stop);
    if (done) co_return stream;
    co_await stream.close();
    co_return std::move(done).error();
}

} // namespace

TlsContext::TlsContext(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

TlsContext::TlsContext(TlsContext&&) noexcept = default;
TlsContext& TlsContext::operator=(TlsContext&&) noexcept = default;
TlsContext::~TlsContext() = default;

Result<TlsContext> TlsContext::server(const TlsServerOptions& options) {
    BLOOM_OK(check_readable(options.cert_file, "certificate"));
    BLOOM_OK(check_readable(options.key_file, "key"));
    ERR_clear_error();
    BLOOM_TRY(auto context, new_context(TLS_server_method()));
    if (SSL_CTX_use_certificate_chain_file(context.get(), options.cert_file.c_str()) != 1) {
        return Error(Code::corrupt, take_ssl_error("certificate " + quoted(options.cert_file)));
    }
    if (SSL_CTX_use_PrivateKey_file(context.get(), options.key_file.c_str(), SSL_FILETYPE_PEM) !=
        1) {
        // OpenSSL compares with the certificate while it loads.
        const bool mismatch = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;
        return Error(mismatch ? Code::invalid_argument : Code::corrupt,
                     take_ssl_error("key " + quoted(options.key_file)) +
                         (mismatch ? "; it belongs to another certificate"
                                   : "; an unencrypted PEM private key is needed"));
    }
    if (SSL_CTX_check_private_key(context.get()) != 1) {
        return Error(Code::invalid_argument, take_ssl_error("key " + quoted(options.key_file)));
    }
    SSL_CTX_set_alpn_select_cb(context.get(), &select_alpn, nullptr);
    auto impl = std::make_unique<Impl>();
    impl->context = std::move(context);
    return TlsContext(std::move(impl));
}

Result<TlsContext> TlsContext::client(const TlsClientOptions& options) {
    ERR_clear_error();
    BLOOM_TRY(auto context, new_context(TLS_client_method()));
    if (!options.ca_file.empty()) {
        BLOOM_OK(check_readable(options.ca_file, "CA file"));
        if (SSL_CTX_load_verify_file(context.get(), options.ca_file.c_str()) != 1) {
            return Error(Code::corrupt, take_ssl_error("CA file " + quoted(options.ca_file)));
        }
    } else if (SSL_CTX_set_default_verify_paths(context.get()) != 1) {
        return Error(Code::unavailable, take_ssl_error("the system's CA store"));
    }
    SSL_CTX_set_verify(context.get(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    SSL_CTX_set_alpn_protos(context.get(), kAlpn.data(), kAlpn.size());
    auto impl = std::make_unique<Impl>();
    impl->context = std::move(context);
    impl->verify = options.verify;
    return TlsContext(std::move(impl));
}

rt::Task<Result<Stream>> tls_accept(TlsContext& context, Stream stream, rt::StopToken stop) {
    Result<std::unique_ptr<SSL, SslFree>> ssl = new_session(context.impl());
    if (!ssl) {
        co_await stream.close();
        co_return std::move(ssl).error();
    }
    SSL_set_accept_state(ssl->get());
    co_return co_await shake_hands(std::move(*ssl), std::move(stream), stop);
}

rt::Task<Result<Stream>> tls_connect(TlsContext& context, Stream stream, std::string server_name,
                                     rt::StopToken stop) {
    Result<std::unique_ptr<SSL, SslFree>> ssl = new_session(context.impl());
    Result<> named =
        ssl ? expect_name(ssl->get(), server_name) : Result<>(std::unexpect, ssl.error());
    if (!named) {
        co_await stream.close();
        co_return std::move(named).error();
    }
    SSL_set_connect_state(ssl->get());
    co_return co_await shake_hands(std::move(*ssl), std::move(stream), stop);
}

} // namespace bloom::net
