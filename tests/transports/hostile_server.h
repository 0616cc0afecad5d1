// tests/transports/hostile_server.h -- an SSH server that lets everybody in and then does what a test says.
//
// It speaks just enough (curve25519, Ed25519, aes128-ctr, hmac-sha2-256) to get libssh2 to the point; what no
// honest server sends is sent as it is. One connection, one thread, ended with the object.
#pragma once

#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "core/assert.h"
#include "core/fd.h"
#include "core/function.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::test {

class HostileServer {
 public:
  // `login`: what to answer to a request to log in with the given method; true: let in. `act`: runs once the
  // command was started. Both on the server's thread, and over when the connection is.
  using Login = Function<bool(HostileServer& server, std::string_view method)>;
  using Act = Function<void(HostileServer& server)>;
  HostileServer(Login login, Act act)
      : login_(std::move(login)),
        act_(std::move(act)),
        host_key_(::EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), ::EVP_PKEY_free),
        listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    ASSERT(::listen(listener_.get(), 1) == 0);
    ASSERT(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    connector::put_string(host_blob_, "ssh-ed25519");
    connector::put_string(host_blob_, raw_public(host_key_.get()));
    thread_ = std::thread([this] { serve(); });
  }
  ~HostileServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    // The client is gone, or is to be told.
    if (const int connection = shown_; connection >= 0) ::shutdown(connection, SHUT_RDWR);
    thread_.join();
  }
  HostileServer(const HostileServer&) = delete;
  HostileServer& operator=(const HostileServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::string known_hosts_line() const {
    return "[127.0.0.1]:" + std::to_string(port_) + " " + connector::public_key_text(host_blob_) + "\n";
  }

  // Channels that are asked for from now on are refused, for this reason (RFC 4254, 5.1).
  void refuse_channels(std::uint32_t reason) { refuses_by_ = reason; }
  // For channels that are opened from now on: how long that takes it.
  void answer_late(std::chrono::milliseconds by) { late_by_ = by; }

  // The keys have been exchanged: until the client asks for something, the test may send() too.
  bool has_keys() const { return has_keys_; }

  // --- for what runs on the server's thread ---

  // False: the connection is over.
  bool send(Bytes payload) {
    const std::size_t block = encrypt_ ? 16 : 8;
    std::size_t padding = block - (5 + payload.size()) % block;
    if (padding < 4) padding += block;
    Buffer packet;
    connector::put_number(packet, std::uint32_t(1 + payload.size() + padding));
    packet.push_back(std::uint8_t(padding));
    packet.insert(packet.end(), payload.begin(), payload.end());
    packet.resize(packet.size() + padding);
    if (encrypt_) {
      const Buffer mac = mac_of(send_mac_, sent_, packet);
      int bytes = 0;
      ASSERT(::EVP_EncryptUpdate(encrypt_.get(), packet.data(), &bytes, packet.data(), int(packet.size())) ==
             1);
      packet.insert(packet.end(), mac.begin(), mac.end());
    }
    ++sent_;
    return write_all(packet);
  }
  // Empty: the connection is over.
  Buffer receive() {
    const std::size_t block = decrypt_ ? 16 : 8;
    Buffer packet(block);
    if (!read_all(packet.data(), block)) return {};
    decrypt(packet.data(), block);
    const std::size_t length = connector::WireReader(packet).number();
    if (length + 4 < block || length > 40'000) return {};
    packet.resize(4 + length);
    if (!read_all(packet.data() + block, packet.size() - block)) return {};
    decrypt(packet.data() + block, packet.size() - block);
    std::uint8_t mac[32];  // believed
    if (decrypt_ && !read_all(mac, sizeof mac)) return {};
    return {packet.begin() + 5, packet.end() - packet[4]};
  }
  Buffer opened_with(std::uint8_t kind) const {
    Buffer payload = {kind};
    connector::put_number(payload, channel_);
    return payload;
  }
  // Until the client has gone.
  void wait() {
    while (!receive().empty()) {
    }
  }

 private:
  using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;
  using Cipher = std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)>;

  static Buffer raw_public(EVP_PKEY* key) {
    std::size_t size = 32;
    Buffer raw(size);
    ASSERT(::EVP_PKEY_get_raw_public_key(key, raw.data(), &size) == 1 && size == 32);
    return raw;
  }
  static Buffer hash(Bytes bytes) {
    Buffer digest(32);
    ASSERT(::EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, ::EVP_sha256(), nullptr) == 1);
    return digest;
  }
  static Buffer mac_of(const Buffer& key, std::uint32_t number, Bytes packet) {
    Buffer text, mac(32);
    connector::put_number(text, number);
    text.insert(text.end(), packet.begin(), packet.end());
    ASSERT(::HMAC(::EVP_sha256(), key.data(), int(key.size()), text.data(), text.size(), mac.data(),
                  nullptr) != nullptr);
    return mac;
  }
  bool write_all(Bytes bytes) {
    while (!bytes.empty()) {
      const ssize_t put = ::send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (put <= 0) return false;
      bytes = bytes.subspan(std::size_t(put));
    }
    return true;
  }
  bool read_all(std::uint8_t* to, std::size_t bytes) {
    return bytes == 0 || ::recv(connection_.get(), to, bytes, MSG_WAITALL) == ssize_t(bytes);
  }
  void decrypt(std::uint8_t* bytes, std::size_t count) {
    int done = 0;
    if (decrypt_ && count > 0)
      ASSERT(::EVP_DecryptUpdate(decrypt_.get(), bytes, &done, bytes, int(count)) == 1);
  }

  void serve() {
    connection_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    shown_ = connection_.get();
    if (!connection_ || !exchange_keys()) return;
    has_keys_ = true;
    if (!log_in() || !open()) return;
    act_(*this);
    ::shutdown(connection_.get(), SHUT_RDWR);
  }

  bool exchange_keys() {
    const std::string version = "SSH-2.0-test";
    if (!write_all(as_bytes(version + "\r\n"))) return false;
    std::string theirs;
    for (std::uint8_t byte; theirs.empty() || theirs.back() != '\n'; theirs += char(byte))
      if (!read_all(&byte, 1)) return false;
    while (theirs.back() == '\n' || theirs.back() == '\r') theirs.pop_back();
    Buffer lists = {20};
    lists.resize(17);
    for (const char* names : {"curve25519-sha256", "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256",
                              "hmac-sha2-256", "none", "none", "", ""})
      connector::put_string(lists, names);
    lists.resize(lists.size() + 5);
    if (!send(lists)) return false;
    const Buffer their_lists = receive(), begin = receive();
    if (their_lists.empty() || begin.empty() || begin[0] != 30) return false;
    const Bytes their_share = connector::WireReader(Bytes(begin).subspan(1)).string();

    const Key mine(::EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519"), ::EVP_PKEY_free);
    const Key other(
        ::EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, their_share.data(), their_share.size()),
        ::EVP_PKEY_free);
    const std::unique_ptr<EVP_PKEY_CTX, void (*)(EVP_PKEY_CTX*)> derive(
        ::EVP_PKEY_CTX_new(mine.get(), nullptr), ::EVP_PKEY_CTX_free);
    Buffer shared(32);
    std::size_t size = shared.size();
    ASSERT(::EVP_PKEY_derive_init(derive.get()) == 1 &&
           ::EVP_PKEY_derive_set_peer(derive.get(), other.get()) == 1 &&
           ::EVP_PKEY_derive(derive.get(), shared.data(), &size) == 1);

    Buffer text;
    connector::put_string(text, theirs);
    connector::put_string(text, version);
    connector::put_string(text, their_lists);
    connector::put_string(text, lists);
    connector::put_string(text, host_blob_);
    connector::put_string(text, their_share);
    connector::put_string(text, raw_public(mine.get()));
    Buffer secret;
    connector::put_mpint(secret, shared);
    text.insert(text.end(), secret.begin(), secret.end());
    const Buffer agreed = hash(text);

    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> signer(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free);
    Buffer raw(64), signature;
    size = raw.size();
    ASSERT(::EVP_DigestSignInit(signer.get(), nullptr, nullptr, nullptr, host_key_.get()) == 1 &&
           ::EVP_DigestSign(signer.get(), raw.data(), &size, agreed.data(), agreed.size()) == 1);
    connector::put_string(signature, "ssh-ed25519");
    connector::put_string(signature, raw);
    Buffer reply = {31};
    connector::put_string(reply, host_blob_);
    connector::put_string(reply, raw_public(mine.get()));
    connector::put_string(reply, signature);
    if (!send(reply) || !send(Buffer{21})) return false;
    if (const Buffer ready = receive(); ready.empty() || ready[0] != 21) return false;

    const auto key = [&](char letter) {
      Buffer from = secret;
      from.insert(from.end(), agreed.begin(), agreed.end());
      from.push_back(std::uint8_t(letter));
      from.insert(from.end(), agreed.begin(), agreed.end());
      return hash(from);
    };
    encrypt_.reset(::EVP_CIPHER_CTX_new());
    decrypt_.reset(::EVP_CIPHER_CTX_new());
    ASSERT(::EVP_EncryptInit_ex(encrypt_.get(), ::EVP_aes_128_ctr(), nullptr, key('D').data(),
                                key('B').data()) == 1);
    ASSERT(::EVP_DecryptInit_ex(decrypt_.get(), ::EVP_aes_128_ctr(), nullptr, key('C').data(),
                                key('A').data()) == 1);
    send_mac_ = key('F');
    return true;
  }

  bool log_in() {
    for (;;) {
      const Buffer request = receive();
      if (request.empty()) return false;
      connector::WireReader reader(Bytes(request).subspan(1));
      if (request[0] == 5) {
        Buffer accept = {6};
        connector::put_string(accept, reader.text());
        if (!send(accept)) return false;
      } else if (request[0] == 50) {
        reader.string();
        reader.string();
        const std::string method(reader.text());
        if (login_(*this, method)) return send(Buffer{52});
      }
    }
  }

  // The channel, its variables, its command; a tunnel has none.
  bool open() {
    for (;;) {
      const Buffer request = receive();
      if (request.empty()) return false;
      connector::WireReader reader(Bytes(request).subspan(1));
      if (request[0] == 90) {
        const bool is_tunnel = reader.text() == "direct-tcpip";
        channel_ = reader.number();
        std::this_thread::sleep_for(late_by_.load());
        if (const std::uint32_t reason = refuses_by_; reason != 0) {
          Buffer refusal = opened_with(92);
          connector::put_number(refusal, reason);
          for (const char* text : {"because", "en"}) connector::put_string(refusal, text);
          if (!send(refusal)) return false;
          continue;
        }
        Buffer confirm = opened_with(91);
        for (const std::uint32_t number : {0U, 1U << 20, 1U << 15}) connector::put_number(confirm, number);
        if (!send(confirm)) return false;
        if (is_tunnel) return true;
      } else if (request[0] == 98) {
        reader.number();
        const bool runs = reader.text() == "exec";
        if (!send(opened_with(99))) return false;
        if (runs) return true;
      }
    }
  }

  Login login_;
  Act act_;
  const Key host_key_;
  Buffer host_blob_;
  Fd listener_, connection_;
  std::atomic<bool> has_keys_ = false;
  std::atomic<std::chrono::milliseconds> late_by_{std::chrono::milliseconds(0)};
  std::atomic<std::uint32_t> refuses_by_ = 0;  // 0: it does not
  std::atomic<int> shown_ = -1;                // connection_, to the other thread
  std::uint16_t port_ = 0;
  Cipher encrypt_{nullptr, ::EVP_CIPHER_CTX_free}, decrypt_{nullptr, ::EVP_CIPHER_CTX_free};
  Buffer send_mac_;
  std::uint32_t sent_ = 0, channel_ = 0;
  std::thread thread_;
};

}  // namespace banyan::test
