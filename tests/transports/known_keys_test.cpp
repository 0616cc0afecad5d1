// Goal: known_hosts is searched as ssh does, and a key file tells its kind whatever its format.
// Method: files as ssh-keygen wrote them, and tables of patterns.
#include "transports/known_keys.h"

#include <catch2/catch.hpp>

#include "core/text.h"

using namespace banyan;

namespace {

std::string types(std::string_view known_hosts, std::string_view name) {
  std::vector<KnownHostKey> found;
  find_host_keys(known_hosts, name, found);
  std::string line;
  for (const KnownHostKey& key : found)
    line += cat(line.empty() ? "" : " ", key.is_authority ? "@" : "", key.type);
  return line;
}

}  // namespace

TEST_CASE("keys of a host are found by name, pattern and list") {
  const char* file =
      "# a comment\n"
      "\n"
      "web,10.0.0.1 ssh-ed25519 AAAA comment\n"
      "*.dc1,!bad.dc1 ecdsa-sha2-nistp256 AAAA\r\n"
      "[web]:2222 ssh-rsa AAAA\n"
      "@cert-authority *.dc1 ssh-ed25519 AAAA\n"
      "@revoked web ssh-rsa AAAA\n"
      "@unknown web ssh-rsa AAAA\n"
      "web 1024 35 12345\n"
      "web ssh-ed25519 BBBB\n"
      "web ssh-rsa";
  CHECK(types(file, "web") == "ssh-ed25519 ssh-rsa");
  CHECK(types(file, "10.0.0.1") == "ssh-ed25519");
  CHECK(types(file, "a.dc1") == "ecdsa-sha2-nistp256 @ssh-ed25519");
  CHECK(types(file, "bad.dc1") == "@ssh-ed25519");
  CHECK(types(file, "[web]:2222") == "ssh-rsa");
  CHECK(types(file, "other").empty());
}

TEST_CASE("hashed names are found") {
  const char* file =
      "|1|rBMjwMZqYpLBLnH+3WOgQZao3yk=|hHXV7mkYbbzRA1RlHPyqQ3bntb0= ssh-ed25519 "
      "AAAA\n|1|RyuMfgIFM0Hm2xyYb8eKL6peooA=|FGLZbAVq9+V3x2Mca6xd4iSM7og= ecdsa-sha2-nistp256 "
      "AAAA\n|1|broken ssh-rsa A\n|1|a|b| ssh-rsa A\n";
  CHECK(types(file, "web") == "ssh-ed25519");
  CHECK(types(file, "[web]:2222") == "ecdsa-sha2-nistp256");
  CHECK(types(file, "web2").empty());
}

TEST_CASE("kinds follow from types") {
  CHECK(kind_of_type("ssh-ed25519") == KeyKind::kEd25519);
  CHECK(kind_of_type("ecdsa-sha2-nistp521") == KeyKind::kEcdsa);
  CHECK(kind_of_type("rsa-sha2-512") == KeyKind::kRsa);
  CHECK(kind_of_type("ssh-dss") == KeyKind::kDsa);
  CHECK(kind_of_type("sk-ssh-ed25519@openssh.com") == KeyKind::kFido);
  CHECK(kind_of_type("sk-ecdsa-sha2-nistp256@openssh.com") == KeyKind::kFido);
  CHECK(kind_of_type("ssh-ed25519-cert-v01@openssh.com") == KeyKind::kCertificate);
  CHECK(kind_of_type("sk-ssh-ed25519-cert-v01@openssh.com") == KeyKind::kCertificate);
  CHECK(kind_of_type("") == KeyKind::kUnknown);
  CHECK(kind_of_type("garbage") == KeyKind::kUnknown);
}

TEST_CASE("a key file tells its kind, private or public, encrypted or not") {
  // Throw-away keys that ssh-keygen made; the second has a passphrase.
  const char* ed25519 = R"(-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDn8eaBCAtLVlUXLXu+Xw8Y9vA0Dr14urlpSDa91eHx4wAAAJD01RHh9NUR
4QAAAAtzc2gtZWQyNTUxOQAAACDn8eaBCAtLVlUXLXu+Xw8Y9vA0Dr14urlpSDa91eHx4w
AAAEBzFqz4h3iRsV/3OzlLcEnyag3Ski01Ezv8oXHS0jpXzefx5oEIC0tWVRcte75fDxj2
8DQOvXi6uWlINr3V4fHjAAAACnRocm93LWF3YXkBAgM=
-----END OPENSSH PRIVATE KEY-----
)";
  const char* encrypted_ecdsa = R"(-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABDTM2IG82
XeCjZC+KO3dadMAAAAEAAAAAEAAABoAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlz
dHAyNTYAAABBBJzOrj9Aifo6ZfADer9nmXvXWb3X1F+lVfbpycirWVf8wB5tzbf09m5BJz
CMIp/l/G6E+peWugd5fWb9xJTnMdgAAACwbjqPHOpLcAWeUUFnM9M4NUVLe/VWt+3L/XrS
GTABurceXruea1mMVdCq9OOoqdf4Dy5D2THNU+Fm+M8/PDpdMJJW9d5O1p2afl6OQs8ibQ
7fB8joNl/0l+v6inRsoQie4I4aZXv9Vqi8P66QmNySiGX0OMaWyxPdC+e3HOFvVyhLeL9p
FZ1XHLdpkXGG1nQcAyQW6c6MfHwn7v5gWhSRPKab7hyJLn22xJNSkjtEse8=
-----END OPENSSH PRIVATE KEY-----
)";
  CHECK(kind_of_key_file(ed25519) == KeyKind::kEd25519);
  CHECK(kind_of_key_file(encrypted_ecdsa) == KeyKind::kEcdsa);
  CHECK(is_encrypted_key_file(encrypted_ecdsa));
  CHECK(is_encrypted_key_file("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"));
  CHECK(is_encrypted_key_file("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
  CHECK_FALSE(is_encrypted_key_file("-----BEGIN RSA PRIVATE KEY-----\nMII\n"));
  CHECK_FALSE(is_encrypted_key_file("ssh-ed25519 AAAA ENCRYPTED\n"));
  CHECK(kind_of_key_file("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n") == KeyKind::kRsa);
  CHECK(kind_of_key_file("-----BEGIN EC PRIVATE KEY-----\r\n") == KeyKind::kEcdsa);
  CHECK(kind_of_key_file("-----BEGIN DSA PRIVATE KEY-----\n") == KeyKind::kDsa);
  CHECK(kind_of_key_file("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII\n") == KeyKind::kUnknown);
  CHECK(kind_of_key_file("ssh-rsa AAAA me@here\n") == KeyKind::kRsa);
  CHECK(kind_of_key_file("sk-ssh-ed25519@openssh.com AAAA\n") == KeyKind::kFido);
  CHECK(kind_of_key_file("") == KeyKind::kUnknown);
}

TEST_CASE("a key file cut anywhere is unknown, and harms nobody") {
  const std::string whole = R"(-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDn8eaBCAtLVlUXLXu+Xw8Y9vA0Dr14urlpSDa91eHx4wAAAJD01RHh9NUR
4QAAAAtzc2gtZWQyNTUxOQAAACDn8eaBCAtLVlUXLXu+Xw8Y9vA0Dr14urlpSDa91eHx4w
AAAEBzFqz4h3iRsV/3OzlLcEnyag3Ski01Ezv8oXHS0jpXzefx5oEIC0tWVRcte75fDxj2
8DQOvXi6uWlINr3V4fHjAAAACnRocm93LWF3YXkBAgM=
-----END OPENSSH PRIVATE KEY-----
)";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const KeyKind kind = kind_of_key_file(whole.substr(0, length));
    CHECK((kind == KeyKind::kUnknown || kind == KeyKind::kEd25519));
  }
}

TEST_CASE("what is known of a host is told by another name, revoked keys and authorities too") {
  const char* file =
      "# a comment\n"
      "web,10.0.0.1 ssh-ed25519 AAAA comment\n"
      "@cert-authority *.dc1,web ssh-ed25519 BBBB\r\n"
      "@revoked * ssh-rsa CCCC\n"
      "@unknown web ssh-rsa DDDD\n"
      "web 1024 35 12345\n"
      "web ssh-ed25519 not-base64\n"
      "other ssh-ed25519 EEEE\n"
      "[web]:2222 ssh-ed25519 FFFF";
  CHECK(host_key_lines(file, "web", "db1") ==
        "db1 ssh-ed25519 AAAA\n@cert-authority db1 ssh-ed25519 BBBB\n@revoked db1 ssh-rsa CCCC\n");
  CHECK(host_key_lines(file, "[web]:2222", "db1") == "@revoked db1 ssh-rsa CCCC\ndb1 ssh-ed25519 FFFF\n");
  CHECK(host_key_lines("", "web", "db1") == "");
}
