// Goal: the system's ssh is started as a plain pipe that asks nothing and trusts no unknown key, and what it
// says when it fails becomes a phase, a class and a remedy. Method: exact argument vectors; the texts OpenSSH
// really prints, all of what one failure prints at a time.
#include "transports/openssh.h"

#include <catch2/catch.hpp>

#include "parent/api/stage0.h"

using namespace banyan;

namespace {

// One word a space, so that an argument vector can be read.
std::string joined(const std::vector<std::string>& argv) {
  std::string line;
  for (const std::string& word : argv) line += (line.empty() ? "" : " ") + word;
  return line;
}

const std::string kAlways =
    "ssh -e none -T -o BatchMode=yes -o StrictHostKeyChecking=yes -o ForwardAgent=no -o ForwardX11=no "
    "-o ClearAllForwardings=yes -o Tunnel=no -o PermitLocalCommand=no -o RemoteCommand=none "
    "-o ServerAliveInterval=5 -o ServerAliveCountMax=3 ";

}  // namespace

TEST_CASE("a plain host gets the usual options and nothing of its own") {
  std::vector<std::string> argv = openssh_argv({"web1", "", "web1", 0}, {}, "exec sh");
  CHECK(joined(argv) == kAlways + "-o ConnectTimeout=10 -o LogLevel=INFO -- web1 exec sh");
  CHECK(argv.back() == "exec sh");
}

TEST_CASE("every setting finds its option, and the target's own come before those for all") {
  SshOptions options;
  options.config_file = "my config";
  options.user = "everyone";
  options.port = 22;
  options.identity = "/keys/id one";
  options.known_hosts = "/tmp/100%known";
  options.connect_timeout = 2'500 * kMillisecond;
  CHECK(joined(openssh_argv({"deploy@[::1]:2222", "deploy", "::1", 2222}, options, "exec sh")) ==
        kAlways +
            "-o ConnectTimeout=3 -o LogLevel=INFO -F my config -l deploy -p 2222 -o ControlPath=none -o "
            "IdentityFile=\"/keys/id "
            "one\" "
            "-o IdentitiesOnly=yes -o UserKnownHostsFile=/tmp/100%%known -o GlobalKnownHostsFile=/dev/null "
            "-- ::1 exec sh");
}

TEST_CASE("the address family and new host keys are ssh's own options") {
  SshOptions options;
  options.family = AddressFamily::kIpv4;
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")) ==
        kAlways + "-o ConnectTimeout=10 -o LogLevel=INFO -4 -- web1 x");
  options.family = AddressFamily::kIpv6;
  options.accept_new = true;
  const std::string line = joined(openssh_argv({"web1", "", "web1", 0}, options, "x"));
  CHECK(line.find(" -o StrictHostKeyChecking=accept-new ") != std::string::npos);
  CHECK(line.find("StrictHostKeyChecking=yes") == std::string::npos);
  CHECK(line.ends_with(" -6 -- web1 x"));
}

TEST_CASE("the host keys that ssh accepted are found among what it said") {
  CHECK(accepted_host_keys("banner\r\nWarning: Permanently added '[::1]:22' (ED25519) to the list of known "
                           "hosts.\r\nmore") ==
        std::vector<std::string>{
            "Warning: Permanently added '[::1]:22' (ED25519) to the list of known hosts."});
  CHECK(accepted_host_keys("").empty());
  CHECK(accepted_host_keys("nothing\n\n").empty());
}

TEST_CASE("jumps that are named are ssh's own, and count before its configuration") {
  SshOptions options;
  options.config_file = "/c";
  options.jumps = "ann@gw:22,gw2";
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")) ==
        kAlways +
            "-o ConnectTimeout=10 -o LogLevel=INFO -F /c -J ann@gw:22,gw2 -o ControlPath=none -- web1 x");
  options.jumps = "none";  // nor by a ProxyCommand of the configuration
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")) ==
        kAlways +
            "-o ConnectTimeout=10 -o LogLevel=INFO -F /c -o ProxyCommand=none -o ControlPath=none -- web1 x");
}

TEST_CASE("what is named, a key, a file of host keys, jumps, is not passed by over a shared connection") {
  SshOptions key, known_hosts, jumps;
  key.identity = known_hosts.known_hosts = "/k";
  jumps.jumps = "none";
  for (const SshOptions& options : {key, known_hosts, jumps})
    CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")).find(" -o ControlPath=none ") !=
          std::string::npos);
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, {}, "x")).find("ControlPath") == std::string::npos);
}

TEST_CASE("a configuration cannot take the command or its input away, where ssh knows how to") {
  SshOptions options;
  options.knows_session_type = true;
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x"))
            .find(" -o SessionType=default -o StdinNull=no ") != std::string::npos);
}

TEST_CASE("settings for all apply where the target names none") {
  SshOptions options;
  options.user = "everyone";
  options.port = 2022;
  options.connect_timeout = 60 * kSecond;
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")) ==
        kAlways + "-o ConnectTimeout=10 -o LogLevel=INFO -l everyone -p 2022 -- web1 x");
}

TEST_CASE("a file name goes to ssh so that it means itself, or not at all") {
  std::string quoted;
  CHECK((quote_ssh_path("/a/b", quoted) && quoted == "/a/b"));
  CHECK((quote_ssh_path("/a b/c", quoted) && quoted == "\"/a b/c\""));
  CHECK((quote_ssh_path("/a%h", quoted) && quoted == "/a%%h"));
  for (const char* wrong : {"", "/a\"b", "/a${HOME}", "/a\nb", "/a\\b"}) {
    CAPTURE(wrong);
    CHECK_FALSE(quote_ssh_path(wrong, quoted));
  }
}

TEST_CASE("what OpenSSH prints becomes a phase and a class") {
  struct {
    const char* text;
    Phase phase;
    ErrorClass error_class;
  } table[] = {
      {"ssh: Could not resolve hostname nosuch.invalid: Name or service not known\r\n", Phase::kResolve,
       ErrorClass::kUnreachable},
      {"ssh: Could not resolve hostname x: Temporary failure in name resolution\r\n", Phase::kResolve,
       ErrorClass::kUnreachable},
      {"/home/a/.ssh/config: line 3: Bad configuration option: frobnicate\r\n/home/a/.ssh/config: "
       "terminating, 1 "
       "bad configuration options\r\n",
       Phase::kResolve, ErrorClass::kIo},
      {"Bad owner or permissions on /home/a/.ssh/config\r\n", Phase::kResolve, ErrorClass::kIo},
      {"Can't open user config file nosuch: No such file or directory\r\n", Phase::kResolve, ErrorClass::kIo},
      {"ssh: connect to host 127.0.0.1 port 1: Connection refused\r\n", Phase::kConnect,
       ErrorClass::kUnreachable},
      {"ssh: connect to host 10.9.9.9 port 22: Connection timed out\r\n", Phase::kConnect,
       ErrorClass::kTimeout},
      {"ssh: connect to host 10.9.9.9 port 22: No route to host\r\n", Phase::kConnect,
       ErrorClass::kUnreachable},
      {"ssh: connect to host 10.9.9.9 port 22: Network is unreachable\r\n", Phase::kConnect,
       ErrorClass::kUnreachable},
      {"ssh: connect to host 10.9.9.9 port 22: Permission denied\r\n", Phase::kConnect,
       ErrorClass::kUnreachable},
      {"Connection timed out during banner exchange\r\nConnection to 127.0.0.1 port 2222 timed out\r\n",
       Phase::kConnect, ErrorClass::kTimeout},
      {"kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 127.0.0.1 port "
       "2222\r\n",
       Phase::kKex, ErrorClass::kRefused},
      {"kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 127.0.0.1 port "
       "2222\r\n",
       Phase::kKex, ErrorClass::kRefused},
      {"Unable to negotiate with 127.0.0.1 port 2222: no matching key exchange method found. Their offer: "
       "diffie-hellman-group1-sha1\r\n",
       Phase::kKex, ErrorClass::kProtocol},
      {"Unable to negotiate with 127.0.0.1 port 2222: no matching host key type found. Their offer: "
       "ssh-rsa\r\n",
       Phase::kKex, ErrorClass::kHostKey},
      {"No ED25519 host key is known for [127.0.0.1]:2222 and you have requested strict checking.\r\nHost "
       "key "
       "verification failed.\r\n",
       Phase::kKex, ErrorClass::kHostKey},
      {"@@@@@@@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@@@@@@@@@@@\r\nIT "
       "IS "
       "POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r\nHost key for [127.0.0.1]:2222 has changed and you "
       "have "
       "requested strict checking.\r\nHost key verification failed.\r\n",
       Phase::kKex, ErrorClass::kHostKey},
      {"Host key verification failed.\r\n", Phase::kKex, ErrorClass::kHostKey},
      {"user@127.0.0.1: Permission denied (publickey).\r\n", Phase::kAuth, ErrorClass::kAuth},
      {"user@127.0.0.1: Permission denied (publickey,password,keyboard-interactive).\r\n", Phase::kAuth,
       ErrorClass::kAuth},
      {"Received disconnect from 127.0.0.1 port 2222:2: Too many authentication failures\r\nDisconnected "
       "from "
       "127.0.0.1 port 2222\r\n",
       Phase::kAuth, ErrorClass::kAuth},
      {"Your account has expired; please contact your system administrator.\r\nConnection closed by "
       "127.0.0.1 port "
       "22\r\n",
       Phase::kAuth, ErrorClass::kAuth},
      {"WARNING: UNPROTECTED PRIVATE KEY FILE!\r\nPermissions 0644 for 'k' are too open.\r\nLoad key \"k\": "
       "bad permissions\r\nu@h: Permission denied "
       "(publickey).\r\n",
       Phase::kAuth, ErrorClass::kAuth},
      {"sign_and_send_pubkey: signing failed for ED25519 \"k\" from agent: agent refused operation\r\nu@h: "
       "Permission denied (publickey).\r\n",
       Phase::kAuth, ErrorClass::kAuth},
      {"Connection closed by 127.0.0.1 port 2222\r\n", Phase::kAuth, ErrorClass::kRefused},
      {"Connection reset by 127.0.0.1 port 2222\r\n", Phase::kKex, ErrorClass::kLost},
      {"Read from remote host 127.0.0.1: Connection reset by peer\r\nclient_loop: send disconnect: Broken "
       "pipe\r\n",
       Phase::kShell, ErrorClass::kLost},
      {"client_loop: send disconnect: Broken pipe\r\n", Phase::kShell, ErrorClass::kLost},
      {"Received disconnect from 127.0.0.1 port 2222:11: Bye\r\n", Phase::kAuth, ErrorClass::kRefused},
      {"This account is currently not available.\n", Phase::kShell, ErrorClass::kRefused},
      {"This service allows sftp connections only.\n", Phase::kShell, ErrorClass::kRefused},
      {"subsystem request failed on channel 0\r\n", Phase::kShell, ErrorClass::kRefused},
      {"exec request failed on channel 0\r\n", Phase::kShell, ErrorClass::kRefused},
      {"WARNING: Your password has expired.\nPassword change required but no TTY available.\n", Phase::kShell,
       ErrorClass::kAuth},
      {"Connection to 127.0.0.1 closed by remote host.\r\n", Phase::kShell, ErrorClass::kLost},
      {"Timeout, server 127.0.0.1 not responding.\r\n", Phase::kShell, ErrorClass::kLost},
      {"channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n"
       "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port "
       "65535\r\n",
       Phase::kConnect, ErrorClass::kUnreachable},
      {"ssh: connect to host 127.0.0.1 port 2223: Connection refused\r\nkex_exchange_identification: "
       "Connection "
       "closed by remote host\r\nConnection closed by UNKNOWN port 65535\r\n",
       Phase::kConnect, ErrorClass::kUnreachable},
      {"ssh: connect to host 10.9.9.9 port 22: No route to host\r\nbanner exchange: Connection to UNKNOWN "
       "port "
       "65535: Broken pipe\r\n",
       Phase::kConnect, ErrorClass::kUnreachable},
      {"u@jump: Permission denied (publickey).\r\nkex_exchange_identification: Connection closed by remote "
       "host\r\nConnection closed by UNKNOWN port 65535\r\n",
       Phase::kAuth, ErrorClass::kAuth},
      {"kex_exchange_identification: banner line contains invalid characters\r\nbanner exchange: Connection "
       "to "
       "127.0.0.1 port 8000: invalid format\r\n",
       Phase::kKex, ErrorClass::kProtocol},
  };
  for (const auto& row : table) {
    CAPTURE(row.text);
    const Symptom* symptom = find_symptom(openssh_symptoms(), row.text);
    REQUIRE(symptom != nullptr);
    CHECK(name_of(symptom->phase) == name_of(row.phase));
    CHECK(name_of(symptom->error_class) == name_of(row.error_class));
    CHECK_FALSE(symptom->remedy.empty());
  }
}

TEST_CASE("harmless lines are no symptom") {
  for (const char* text :
       {"", "Welcome to web1. Unauthorized use is prohibited.\r\n",
        "Warning: Permanently added '[127.0.0.1]:2222' (ED25519) to the list of known hosts.\r\n",
        "Could not chdir to home directory /home/x: No such file or directory\r\n",
        "ControlSocket /tmp/x already exists, disabling multiplexing\r\n"}) {
    CAPTURE(text);
    CHECK(find_symptom(openssh_symptoms(), text) == nullptr);
  }
}

TEST_CASE("ConnectTimeout of the configuration bounds the connecting, longer or shorter than usual") {
  SshOptions options;
  options.tcp_timeout = 3 * kSecond;
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")).find("ConnectTimeout=3 ") !=
        std::string::npos);
  options.tcp_timeout = 60 * kSecond;
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")).find("ConnectTimeout=60 ") !=
        std::string::npos);
  CHECK(openssh({"web1", "", "web1", 0}, options, 1, "").deadlines.until_ready == 115 * kSecond);
  options.connect_timeout = 20 * kSecond;
  CHECK(joined(openssh_argv({"web1", "", "web1", 0}, options, "x")).find("ConnectTimeout=20 ") !=
        std::string::npos);
}

TEST_CASE("a recipe carries the nonce, the guess and the limit to whoever runs it") {
  SshOptions options;
  options.connect_timeout = 7 * kSecond;
  const Recipe recipe = openssh({"deploy@web1", "deploy", "web1", 0}, options, 0x1122334455667788, "x86_64");
  CHECK(recipe.name == "deploy@web1");
  CHECK(recipe.method == "ssh");
  CHECK(recipe.boot == Recipe::Boot::kStage0);
  CHECK(recipe.nonce == 0x1122334455667788);
  CHECK(recipe.architecture == "x86_64");
  CHECK(recipe.deadlines.total == 7 * kSecond);
  CHECK(recipe.symptoms.size() == openssh_symptoms().size());
  CHECK(recipe.argv.back() == stage0_command(0x1122334455667788, "x86_64"));
  CHECK(recipe.argv.back().find("1122334455667788") != std::string::npos);
}
