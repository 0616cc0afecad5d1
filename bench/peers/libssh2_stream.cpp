// bench_libssh2 PORT USER KEY up|down BYTES -- the least that a stream through libssh2 costs: one blocking
// loop, with a window of 16 MiB, the algorithms that the other side of the comparison uses, and the far end's
// `cat` or `head`. Prints how long it took from the start of the command to its end, in microseconds. The
// host is the loopback interface: its key is not checked.

#include <arpa/inet.h>
#include <libssh2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr unsigned kWindow = 16 << 20;
constexpr unsigned kPacket = 32 << 10;
constexpr std::size_t kBlock = 256 << 10;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "bench_libssh2: %s\n", what);
  std::exit(1);
}

int connect_to(int port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(std::uint16_t(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  require(::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connecting");
  const int yes = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return socket;
}

void send_all(LIBSSH2_CHANNEL* channel, std::size_t bytes) {
  const std::vector<char> block(kBlock);
  while (bytes > 0) {
    const ssize_t put = libssh2_channel_write(channel, block.data(), std::min(bytes, block.size()));
    require(put > 0, "writing");
    bytes -= std::size_t(put);
  }
  libssh2_channel_send_eof(channel);
  char none[1];
  require(libssh2_channel_read(channel, none, sizeof none) == 0, "waiting for the end");
}

void receive_all(LIBSSH2_CHANNEL* channel, std::size_t bytes) {
  std::vector<char> block(kBlock);
  for (;;) {
    const ssize_t got = libssh2_channel_read(channel, block.data(), block.size());
    require(got >= 0, "reading");
    if (got == 0) break;
    bytes -= std::size_t(got);
  }
  require(bytes == 0, "another number of bytes");
}

}  // namespace

int main(int argc, char** argv) {
  require(argc == 6, "PORT USER KEY up|down BYTES");
  const std::string user = argv[2], key = argv[3];
  const bool up = std::string(argv[4]) == "up";
  const std::size_t bytes = std::strtoull(argv[5], nullptr, 10);
  const int socket = connect_to(std::atoi(argv[1]));
  require(libssh2_init(0) == 0, "libssh2");
  LIBSSH2_SESSION* session = libssh2_session_init();
  require(session != nullptr, "a session");
  libssh2_session_method_pref(session, LIBSSH2_METHOD_KEX, "curve25519-sha256");
  for (const int method : {LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_CRYPT_SC})
    libssh2_session_method_pref(session, method, "aes128-ctr");
  for (const int method : {LIBSSH2_METHOD_MAC_CS, LIBSSH2_METHOD_MAC_SC})
    libssh2_session_method_pref(session, method, "hmac-sha2-256");
  require(libssh2_session_handshake(session, socket) == 0, "key exchange");
  require(libssh2_userauth_publickey_fromfile(session, user.c_str(), (key + ".pub").c_str(), key.c_str(),
                                              "") == 0,
          "authentication");
  LIBSSH2_CHANNEL* channel = libssh2_channel_open_ex(session, "session", 7, kWindow, kPacket, nullptr, 0);
  require(channel != nullptr, "a channel");
  const auto began = std::chrono::steady_clock::now();
  const std::string command = up ? "cat >/dev/null" : "head -c " + std::to_string(bytes) + " /dev/zero";
  require(libssh2_channel_exec(channel, command.c_str()) == 0, "the command");
  if (up)
    send_all(channel, bytes);
  else
    receive_all(channel, bytes);
  const auto took = std::chrono::steady_clock::now() - began;
  std::printf("%lld\n",
              static_cast<long long>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  return 0;
}
