/* A workload's use of its libc's stub resolver: one command per line on stdin, each looked up in a thread of its own.
 *   NAME        getaddrinfo, both families       4 NAME   IPv4 only       ptr ADDRESS   getnameinfo
 * Built once against glibc and once, static, against musl. Prints "command -> result". */
#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void forward(const char *line, const char *name, int family)
{
    struct addrinfo hints, *list = NULL, *one;
    char text[INET6_ADDRSTRLEN], out[900] = "";
    memset(&hints, 0, sizeof hints);
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    int failed = getaddrinfo(name, NULL, &hints, &list);
    if (failed)
        snprintf(out, sizeof out, " error: %s", gai_strerror(failed));
    for (one = failed ? NULL : list; one; one = one->ai_next) {
        const void *address = one->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
                                                        : (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
        if (inet_ntop(one->ai_family, address, text, sizeof text) && strlen(out) + strlen(text) + 2 < sizeof out)
            strcat(strcat(out, " "), text);
    }
    if (!failed)
        freeaddrinfo(list);
    printf("%s ->%s\n", line, out);
    fflush(stdout);
}

static void reverse(const char *line, const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
    char host[NI_MAXHOST] = "";
    int six = inet_pton(AF_INET6, address, &to6.sin6_addr) == 1;
    inet_pton(AF_INET, address, &to.sin_addr);
    int failed = six ? getnameinfo((struct sockaddr *)&to6, sizeof to6, host, sizeof host, NULL, 0, NI_NAMEREQD)
                     : getnameinfo((struct sockaddr *)&to, sizeof to, host, sizeof host, NULL, 0, NI_NAMEREQD);
    printf("%s -> %s\n", line, failed ? gai_strerror(failed) : host);
    fflush(stdout);
}

static void *look_up(void *arg)
{
    char *line = arg;
    if (!strncmp(line, "ptr ", 4))
        reverse(line, line + 4);
    else if (!strncmp(line, "4 ", 2))
        forward(line, line + 2, AF_INET);
    else
        forward(line, line, AF_UNSPEC);
    free(line);
    return NULL;
}

int main(void)
{
    char line[512];
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, 256 * 1024);
    while (fgets(line, sizeof line, stdin)) {
        pthread_t thread;
        line[strcspn(line, "\n")] = 0;
        char *copy = strdup(line);
        if (!copy || pthread_create(&thread, &detached, look_up, copy))
            free(copy);
    }
    return 0;
}
