/* A function for tests: answers calls as the first word of their body says. Static, no libraries. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int sock;
static long printed[2];

static void all(int fd, const void *data, size_t size) {
  const char *at = data;
  while (size) {
    ssize_t done = write(fd, at, size);
    if (done <= 0) _exit(9);
    at += done;
    size -= (size_t)done;
  }
}

static void print(int fd, const char *data, size_t size) {
  all(fd, data, size);
  printed[fd - 1] += (long)size;
}

static void say(const char *header, const char *payload, size_t size) {
  uint32_t lengths[2] = {htonl((uint32_t)strlen(header)), htonl((uint32_t)size)};
  all(sock, lengths, sizeof lengths);
  all(sock, header, strlen(header));
  all(sock, payload, size);
}

static int exactly(void *data, size_t size) {
  char *at = data;
  while (size) {
    ssize_t got = read(sock, at, size);
    if (got <= 0) return 0;
    at += got;
    size -= (size_t)got;
  }
  return 1;
}

static void answer(const char *payload, size_t size) {
  char header[200];
  snprintf(header, sizeof header, "{\"status\":200,\"headers\":[[\"content-type\",\"text/plain\"]],"
           "\"printed\":[%ld,%ld]}", printed[0], printed[1]);
  say(header, payload, size);
}

static void answer_file(const char *path) {
  static char content[8192];
  int fd = open(path, O_RDONLY);
  ssize_t size = fd < 0 ? 0 : read(fd, content, sizeof content);
  answer(content, size < 0 ? 0 : (size_t)size);
}

static void nap(double seconds) {
  struct timespec left = {(time_t)seconds, (long)((seconds - (long)seconds) * 1e9)};
  while (nanosleep(&left, &left) < 0) {}
}

static void fill(long size) {
  char line[1000];
  memset(line, 'x', sizeof line);
  line[sizeof line - 1] = '\n';
  while (size > 0) {
    size_t part = size < (long)sizeof line ? (size_t)size : sizeof line;
    print(1, line, part);
    size -= (long)part;
  }
}

static void call(char *header, char *body, size_t size) {
  double number = strchr(body, ' ') ? atof(strchr(body, ' ')) : 0;
  if (!strncmp(body, "echo", 4)) {
    say("{\"status\":201,\"headers\":[[\"X-A\",\"1\"],[\"X-A\",\"2\"],[\"content-type\",\"x/y\"]],"
        "\"printed\":[0,0]}", body, size);
  } else if (!strncmp(body, "header", 6)) {
    answer(header, strlen(header));
  } else if (!strncmp(body, "who", 3)) {
    char name[200];
    gethostname(name, sizeof name);
    answer(name, strlen(name));
  } else if (!strncmp(body, "plain", 5)) {
    say("{\"status\":204}", "", 0);
  } else if (!strncmp(body, "error", 5)) {
    say("{\"error\":\"it went wrong\"}", "", 0);
  } else if (!strncmp(body, "exit", 4)) {
    print(2, "bye\n", 4);
    _exit((int)number);
  } else if (!strncmp(body, "segfault", 8)) {
    *(volatile int *)0 = 1;
  } else if (!strncmp(body, "last", 4)) {
    say("{\"status\":200,\"headers\":[],\"printed\":[0,0],\"exit\":0}", "bye", 3);
    _exit(0);
  } else if (!strncmp(body, "sleep", 5)) {
    nap(number);
    answer("slept", 5);
  } else if (!strncmp(body, "family", 6)) {
    if (fork() == 0) for (;;) nap(1000);
    nap(1000);
  } else if (!strncmp(body, "memory", 6)) {
    for (;;) {
      char *block = malloc(1 << 20);
      if (block) memset(block, 1, 1 << 20);
    }
  } else if (!strncmp(body, "print", 5)) {
    fill((long)number);
    print(2, "oh\n", 3);
    answer("", 0);
  } else if (!strncmp(body, "mutter", 6)) {
    fill((long)number);
    say("{\"status\":200,\"headers\":[]}", "", 0);
  } else if (!strncmp(body, "watch", 5)) {
    print(1, "begun\n", 6);
    nap(number);
    print(1, "done\n", 5);
    answer("", 0);
  } else if (!strncmp(body, "carry", 5)) {
    print(1, "own\n", 4);
    say("{\"status\":200,\"headers\":[],\"sizes\":[2,4,5],\"printed\":[4,0]}", "okoutserrs!", 11);
  } else if (!strncmp(body, "progress", 8)) {
    say("{\"progress\":0.5,\"text\":\"half\"}", "", 0);
    nap(0.2);
    answer("", 0);
  } else if (!strncmp(body, "large", 5)) {
    char *block = calloc(1, (size_t)number);
    say("{\"status\":200,\"headers\":[]}", block, (size_t)number);
    free(block);
  } else if (!strncmp(body, "nonsense", 8)) {
    say("{\"status\":\"high\",\"headers\":[]}", "", 0);
  } else if (!strncmp(body, "split", 5)) {
    say("{\"status\":200,\"headers\":[[\"a\",\"b\\r\\nc: d\"]]}", "", 0);
  } else if (!strncmp(body, "babble", 6)) {
    all(sock, "GET / HTTP/1.1\r\n\r\n", 18);
  } else if (!strncmp(body, "read ", 5)) {
    answer_file(body + 5);
  } else if (!strncmp(body, "write ", 6)) {
    int fd = open(body + 6, O_WRONLY | O_CREAT, 0600);
    answer(fd < 0 ? "no" : "yes", fd < 0 ? 2 : 3);
  } else {
    answer("?", 1);
  }
}

int main(int count, char **arguments) {
  const char *how = count > 1 ? arguments[1] : "";
  const char *path = getenv("TASKYARD_FUNCTION_SOCKET");
  if (!strcmp(how, "die")) {
    all(2, "no such table\n", 14);
    return 7;
  }
  if (!strcmp(how, "mute")) for (;;) nap(1000);
  if (!strcmp(how, "stubborn")) signal(SIGTERM, SIG_IGN);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path ? path : "", sizeof address.sun_path - 1);
  sock = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(sock, (struct sockaddr *)&address, sizeof address) < 0) {
    perror("connect");
    return 8;
  }
  say("{\"ready\":true}", "", 0);
  for (;;) {
    uint32_t lengths[2];
    if (!exactly(lengths, sizeof lengths)) {
      if (!strcmp(how, "stubborn")) for (;;) nap(1000);
      return 0;
    }
    size_t header = ntohl(lengths[0]), size = ntohl(lengths[1]);
    char *data = calloc(1, header + size + 2);
    if (!exactly(data, header) || !exactly(data + header + 1, size)) return 0;
    call(data, data + header + 1, size);
    free(data);
  }
}
