// An ssh of a hostile hop's: it connects nowhere and asks the key agent it was given for all that would help
// it. What came back it says on standard error: the kind of each answer, 5 for a refusal, 0 for none.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

std::string number(std::size_t value) {
  return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
}
std::string string(const std::string& text) {
  return number(text.size()) + text;
}

struct Agent {
  int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);

  explicit Agent(const char* path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::perror("connect");
  }
  ~Agent() { ::close(fd); }

  std::string ask(const std::string& request) const {
    const std::string message = string(request);
    if (::send(fd, message.data(), message.size(), MSG_NOSIGNAL) < 0) return {};
    unsigned char length[4];
    if (::recv(fd, length, 4, MSG_WAITALL) != 4) return {};
    std::string answer(std::size_t(length[1]) << 16 | std::size_t(length[2]) << 8 | length[3], '\0');
    if (::recv(fd, answer.data(), answer.size(), MSG_WAITALL) != ssize_t(answer.size())) return {};
    return answer;
  }
};

std::string login(const std::string& key, const std::string& user) {
  const std::string algorithm(key.substr(4, std::size_t(key[3])));
  const std::string data = string("a session") + char(50) + string(user) + string("ssh-connection") +
                           string("publickey") + char(1) + string(algorithm) + string(key);
  return char(13) + string(key) + string(data) + number(0);
}

}  // namespace

int main(int argc, char** argv) {
  const char* path = std::getenv("SSH_AUTH_SOCK");
  std::string user;
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string(argv[i]) == "-l") user = argv[i + 1];
  if (path == nullptr || user.empty()) return 1;
  const Agent agent(path);
  const std::string key = string("ssh-ed25519") + string(std::string(32, 'k'));
  const std::vector<std::string> wishes = {
      std::string(1, char(11)),  // which keys there are
      login(key, user),          // without proof
      login(key, "root"),        // as somebody else
      char(13) + string(key) + string("SSHSIG" + string("git") + string("")) + number(0),  // a file
      char(27) + string("session-bind@openssh.com") + string(key) + string("a session") +
          string(string("ssh-ed25519") + string(std::string(64, 'x'))) + char(0),  // a proof that is none
      char(27) + string("query"),
      std::string(1, char(17)),                       // take a key of mine
      std::string(1, char(19)),                       // forget all of yours
      char(22) + string("locked"),                    // let nobody in any more
      char(13) + std::string("\xff\xff\xff\xff", 4),  // nonsense
  };
  std::string said = "greedy:";
  for (const std::string& wish : wishes) {
    const std::string answer = agent.ask(wish);
    said += " " + std::to_string(answer.empty() ? 0 : int(answer[0]));
  }
  for (int i = 0; i < 40; ++i) {  // and by other connections, as long as somebody listens
    const Agent another(path);
    if (const std::string answer = another.ask(login(key, user)); !answer.empty() && answer[0] != 5)
      said += " leaked";
  }
  std::fprintf(stderr, "%s\n", said.c_str());
  return 255;
}
