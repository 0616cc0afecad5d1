// Goal: a session is told what ssh's settings of the host say, and gets its share of memory.
// Method: settings as ssh -G prints them, and what becomes of them.
#include "transports/libssh2.h"

#include <catch2/catch.hpp>

using namespace banyan;
using List = std::vector<std::string>;

TEST_CASE("one session may have 16 MiB on their way, and many share 64") {
  CHECK(receive_window(1) == 16u << 20);
  CHECK(receive_window(4) == 16u << 20);
  CHECK(receive_window(64) == 1u << 20);
  CHECK(receive_window(100'000) == 256u << 10);
}

TEST_CASE("of the algorithms in ssh's settings those that libssh2 knows are asked for, in the same order") {
  SshSettings settings;
  settings.kex_algorithms = {"sntrup761x25519-sha512@openssh.com", "ecdh-sha2-nistp256", "curve25519-sha256"};
  settings.ciphers = {"aes256-ctr", "aes128-ctr"};
  settings.macs = {"umac-64@openssh.com", "hmac-sha2-512"};
  settings.host_key_algorithms = {"ecdsa-sha2-nistp256", "ssh-ed25519"};

  const SessionSettings session = session_settings(settings, false, false);

  CHECK((session.key_exchanges == List{"ecdh-sha2-nistp256", "curve25519-sha256"}));
  CHECK((session.ciphers == List{"aes256-ctr", "aes128-ctr"}));
  CHECK((session.macs == List{"hmac-sha2-512"}));
  CHECK((session.host_key_algorithms == List{"ecdsa-sha2-nistp256", "ssh-ed25519"}));
}

TEST_CASE("a host on the way has its own settings, and is told nothing of our environment") {
  SshSettings settings;
  settings.hostname = "192.0.2.1";
  settings.port = 2022;
  settings.user = "bob";
  settings.identity_files = {"/id"};
  settings.set_env = {"SECRET=x"};
  settings.user_known_hosts = {"/known"};

  const SessionSettings hop = hop_settings(settings, "gw", true, true);

  CHECK(hop.name == "gw");
  CHECK(hop.host == "192.0.2.1");
  CHECK(hop.port == 2022);
  CHECK(hop.identities == List{"/id"});
  CHECK(hop.environment.empty());
  CHECK(hop.accept_new == "/known");
  CHECK(hop.may_ask);
}

TEST_CASE("an unknown host key is written to the user's first file, and only when that was asked for here") {
  SshSettings settings;
  settings.strict_host_key_checking = "accept-new";
  settings.user_known_hosts = {"/home/u/a", "/home/u/b"};

  CHECK(session_settings(settings, false, false).accept_new == "");
  CHECK(session_settings(settings, true, false).accept_new == "/home/u/a");
}
