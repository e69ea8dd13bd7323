#pragma once

#include <memory>
#include <string>

#include <bloom/base/result.hpp>
#include <bloom/net/stream.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::net {

struct TlsServerOptions {
    std::string cert_file; ///< PEM: the certificate, then its chain
    std::string key_file;  ///< PEM
};

struct TlsClientOptions {
    std::string ca_file; ///< PEM; empty takes the system's store
    bool verify = true;  ///< certificate and name; false only for tests and explicit wishes
};

/// Keys and settings of TLS 1.2 and 1.3 with ALPN http/1.1. One per shard. Thread: the shard's.
/// Lifetime: longer than the handshakes; streams keep what they need.
class TlsContext {
public:
    /// Errors: not_found or permission_denied for files; corrupt for PEM that cannot be read;
    /// invalid_argument when the key does not belong to the certificate. Each names the file.
    static Result<TlsContext> server(const TlsServerOptions& options);
    static Result<TlsContext> client(const TlsClientOptions& options);

    TlsContext(TlsContext&&) noexcept;
    TlsContext& operator=(TlsContext&&) noexcept;
    ~TlsContext();

    struct Impl;

    Impl& impl() noexcept { return *impl_; }

private:
    explicit TlsContext(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

/// Shakes hands as a server; the stream that comes back is used like a plain one. When it fails the
/// connection has been closed. Errors: protocol_error naming OpenSSL's reason; closed; the token's.
rt::Task<Result<Stream>> tls_accept(TlsContext& context, Stream stream, rt::StopToken stop);
/// Shakes hands as a client; `server_name` is sent (SNI) and checked. Errors: as above;
/// permission_denied when the certificate is not trusted or is for another name.
rt::Task<Result<Stream>> tls_connect(TlsContext& context, Stream stream, std::string server_name,
                                     rt::StopToken stop);

} // namespace bloom::net
