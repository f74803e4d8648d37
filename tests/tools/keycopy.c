/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keycopy SOURCE DESTINATION [--parallel P]: the key-by-key copier the benchmark compares with. It does what Vault's
 * `operator migrate` does: a sorted walk by listing folder after folder, then for each key one Get and one Put by one
 * of P workers; prepared statements and an upsert for MySQL and PostgreSQL, temporary file and rename without fsync
 * for files. No marker, no verification, no resume.
 *   file:DIR
 *   mysql:HOST:PORT:USER:PASSWORD_FILE:CA_FILE:DATABASE:TABLE     (an empty CA_FILE: no TLS)
 *   postgresql:HOST:PORT:USER:PASSWORD_FILE:CA_FILE:DATABASE:TABLE
 *   consul:HOST:PORT:TOKEN_FILE:CA_FILE:PATH                      one GET or PUT per key over a connection that is kept
 * Knowledge: hashicorp/vault command/operator_migrate.go, physical/mysql/mysql.go,
 * physical/postgresql/postgresql.go, sdk/physical/file/file.go.
 */
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <limits.h>
#include <mysql.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_MAX = 1024, VALUE_MAX = 16 << 20, QUEUE = 1024, PARALLEL_MAX = 1024 };

struct place {
    bool is_mysql, is_pg, is_consul;
    char *path; /* file; consul: what keys begin with */
    char *host, *user, *password, *ca, *database, *table;
    unsigned port;
};

/* One worker's (or the walker's) access to a place. */
struct access {
    const struct place *place;
    MYSQL *mysql;
    MYSQL_STMT *get, *put;
    CURL *curl;
    struct curl_slist *headers;
    const uint8_t *sending; /* the body of a PUT, and what is left of it */
    size_t to_send;
    char *body; /* of the answer */
    size_t body_size, body_room;
    PGconn *pg;
};

struct names {
    char **names;
    size_t count, room;
};

static struct place source, destination;
static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled, taken;
    char *keys[QUEUE];
    size_t head, count;
    bool ended;
    uint64_t copied;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .taken = PTHREAD_COND_INITIALIZER};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("keycopy: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *get_memory(void *old, size_t size)
{
    void *new = realloc(old, size ? size : 1);
    if (!new)
        die("out of memory");
    return new;
}

/* --- listing --- */

static void names_add(struct names *list, const char *name, size_t size)
{
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 64;
        list->names = get_memory(list->names, list->room * sizeof(*list->names));
    }
    char *copy = get_memory(NULL, size + 1);
    memcpy(copy, name, size);
    copy[size] = '\0';
    list->names[list->count++] = copy;
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* The direct children of a prefix, "name" or "name/", as Vault's file backend lists them. */
static void list_files(const struct place *place, const char *prefix, struct names *out)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", place->path, prefix);
    DIR *dir = opendir(path);
    if (!dir)
        die("cannot list '%s': %s", path, strerror(errno));
    for (struct dirent *item; (item = readdir(dir));) {
        char name[NAME_MAX + 2];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        int n = item->d_type == DT_DIR ? snprintf(name, sizeof(name), "%s/", item->d_name)
                                       : snprintf(name, sizeof(name), "%s", item->d_name + (item->d_name[0] == '_'));
        names_add(out, name, (size_t)n);
    }
    closedir(dir);
}

/* The same from a table: all keys below the prefix, children cut on our side, as Vault does. */
static void list_rows(struct access *access, const char *prefix, struct names *out)
{
    char query[KEY_MAX * 2 + 256], escaped[KEY_MAX * 2 + 1];
    size_t prefix_size = strlen(prefix);
    mysql_real_escape_string(access->mysql, escaped, prefix, prefix_size);
    snprintf(query, sizeof(query), "SELECT vault_key FROM `%s`.`%s` WHERE vault_key LIKE '%s%%'",
             access->place->database, access->place->table, escaped);
    if (mysql_query(access->mysql, query) != 0)
        die("cannot list '%s': %s", prefix, mysql_error(access->mysql));
    MYSQL_RES *result = mysql_use_result(access->mysql);
    if (!result)
        die("cannot list '%s': %s", prefix, mysql_error(access->mysql));
    for (MYSQL_ROW row; (row = mysql_fetch_row(result));) {
        const char *rest = row[0] + prefix_size, *slash = strchr(rest, '/');
        size_t size = slash ? (size_t)(slash - rest) + 1 : strlen(rest);
        const char *last = out->count ? out->names[out->count - 1] : "";
        if (strlen(last) != size || memcmp(last, rest, size) != 0) /* rows come sorted: folders repeat in a row */
            names_add(out, rest, size);
    }
    if (mysql_errno(access->mysql))
        die("cannot list '%s': %s", prefix, mysql_error(access->mysql));
    mysql_free_result(result);
}

/* --- Consul --- */

static size_t send_some(char *out, size_t size, size_t count, void *user)
{
    struct access *access = user;
    size_t some = size * count < access->to_send ? size * count : access->to_send;
    memcpy(out, access->sending, some);
    access->sending += some;
    access->to_send -= some;
    return some;
}

static size_t take_some(char *data, size_t size, size_t count, void *user)
{
    struct access *access = user;
    size_t some = size * count;
    if (access->body_size + some + 1 > access->body_room) {
        access->body_room = (access->body_size + some + 1) * 2;
        access->body = get_memory(access->body, access->body_room);
    }
    memcpy(access->body + access->body_size, data, some);
    access->body_size += some;
    return some;
}

/* One request; the HTTP status, and the answer's body in access->body. */
static long request(struct access *access, const char *key, const char *query, const uint8_t *value, size_t size)
{
    char url[KEY_MAX * 4];
    long status = 0;
    snprintf(url, sizeof(url), "%s://%s:%u/v1/kv/%s%s%s", *access->place->ca ? "https" : "http", access->place->host,
             access->place->port, access->place->path, key, query);
    access->sending = value;
    access->to_send = size;
    access->body_size = 0;
    curl_easy_setopt(access->curl, CURLOPT_URL, url);
    curl_easy_setopt(access->curl, CURLOPT_UPLOAD, value ? 1L : 0L);
    curl_easy_setopt(access->curl, CURLOPT_INFILESIZE_LARGE, value ? (curl_off_t)size : (curl_off_t)-1);
    if (!value)
        curl_easy_setopt(access->curl, CURLOPT_HTTPGET, 1L);
    CURLcode code = curl_easy_perform(access->curl);
    if (code != CURLE_OK)
        die("a request for '%s' failed: %s", key, curl_easy_strerror(code));
    curl_easy_getinfo(access->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static void open_consul(struct access *access)
{
    char header[600];
    access->curl = curl_easy_init();
    if (!access->curl)
        die("out of memory");
    snprintf(header, sizeof(header), "X-Consul-Token: %s", access->place->password);
    access->headers = curl_slist_append(curl_slist_append(NULL, header), "Expect:");
    curl_easy_setopt(access->curl, CURLOPT_HTTPHEADER, access->headers);
    curl_easy_setopt(access->curl, CURLOPT_CAINFO, access->place->ca);
    curl_easy_setopt(access->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(access->curl, CURLOPT_READFUNCTION, send_some);
    curl_easy_setopt(access->curl, CURLOPT_READDATA, access);
    curl_easy_setopt(access->curl, CURLOPT_WRITEFUNCTION, take_some);
    curl_easy_setopt(access->curl, CURLOPT_WRITEDATA, access);
}

/* The children of a prefix: ?keys&separator=/ answers with a JSON list of whole keys (ours hold nothing to escape). */
static void list_keys(struct access *access, const char *prefix, struct names *out)
{
    size_t skip = strlen(access->place->path) + strlen(prefix);
    long status = request(access, prefix, "?keys&separator=/", NULL, 0);
    if (status != 200 && status != 404)
        die("cannot list '%s': HTTP %ld", prefix, status);
    char *end = access->body + access->body_size;
    for (char *at = access->body; status == 200 && at < end && (at = memchr(at, '"', (size_t)(end - at)));) {
        char *close = memchr(at + 1, '"', (size_t)(end - at - 1));
        if (!close)
            die("cannot list '%s': cut", prefix);
        if ((size_t)(close - at - 1) > skip)
            names_add(out, at + 1 + skip, (size_t)(close - at - 1) - skip);
        at = close + 1;
    }
}

static bool get_key(struct access *access, const char *key, uint8_t *value, size_t *ret_size)
{
    long status = request(access, key, "?raw", NULL, 0);
    if (status != 200 && status != 404)
        die("cannot get '%s': HTTP %ld", key, status);
    if (access->body_size > VALUE_MAX)
        die("cannot get '%s': too large", key);
    memcpy(value, access->body, access->body_size);
    *ret_size = access->body_size;
    return status == 200;
}

static void put_key(struct access *access, const char *key, const uint8_t *value, size_t size)
{
    long status = request(access, key, "", value, size);
    if (status != 200)
        die("cannot put '%s': HTTP %ld", key, status);
}

/* Runs a statement or a prepared one by its name; dies unless it ends as `want`. */
static PGresult *pg_run(PGconn *pg, const char *what, PGresult *result, ExecStatusType want)
{
    if (PQresultStatus(result) != want)
        die("cannot %s: %s", what, PQerrorMessage(pg));
    return result;
}

/* The direct children of a prefix, by Vault's own statement. */
static void list_pg(struct access *access, const char *prefix, struct names *out)
{
    char path[KEY_MAX + 2];
    snprintf(path, sizeof(path), "/%s", prefix);
    const char *values[] = {path};
    PGresult *rows =
        pg_run(access->pg, "list", PQexecPrepared(access->pg, "list", 1, values, NULL, NULL, 0), PGRES_TUPLES_OK);
    for (int i = 0; i < PQntuples(rows); i++)
        if (!PQgetisnull(rows, i, 0))
            names_add(out, PQgetvalue(rows, i, 0), (size_t)PQgetlength(rows, i, 0));
    PQclear(rows);
}

static void hand_over(char *key)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.count == QUEUE)
        pthread_cond_wait(&queue.taken, &queue.lock);
    queue.keys[(queue.head + queue.count++) % QUEUE] = key;
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

/* Depth first with a stack of our own, in sorted order. */
static void walk(struct access *access)
{
    struct names stack = {0};
    names_add(&stack, "", 0);
    while (stack.count) {
        char *at = stack.names[--stack.count];
        size_t size = strlen(at);
        if (size && at[size - 1] != '/') {
            if (strcmp(at, "core/migration") != 0 && strcmp(at, "core/lock") != 0)
                hand_over(at);
            else
                free(at);
            continue;
        }
        struct names children = {0};
        if (access->place->is_mysql)
            list_rows(access, at, &children);
        else if (access->place->is_consul)
            list_keys(access, at, &children);
        else if (access->place->is_pg)
            list_pg(access, at, &children);
        else
            list_files(access->place, at, &children);
        if (children.count)
            qsort(children.names, children.count, sizeof(*children.names), by_name);
        for (size_t i = children.count; i-- > 0;) {
            char full[KEY_MAX * 2];
            int n = snprintf(full, sizeof(full), "%s%s", at, children.names[i]);
            names_add(&stack, full, (size_t)n);
            free(children.names[i]);
        }
        free(children.names);
        free(at);
    }
    free(stack.names);
}

/* --- Get and Put --- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static uint8_t base64_value[256];

static size_t base64_encode(char *out, const uint8_t *in, size_t size)
{
    char *at = out;
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three =
            (uint32_t)in[i] << 16 | (i + 1 < size ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < size ? in[i + 2] : 0);
        *at++ = base64_digits[three >> 18];
        *at++ = base64_digits[three >> 12 & 63];
        *at++ = i + 1 < size ? base64_digits[three >> 6 & 63] : '=';
        *at++ = i + 2 < size ? base64_digits[three & 63] : '=';
    }
    return (size_t)(at - out);
}

static size_t base64_decode(uint8_t *out, const char *in, size_t size)
{
    size_t done = 0;
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t three = 0;
        for (size_t j = 0; j < 4; j++)
            three = three << 6 | base64_value[(uint8_t)in[i + j]];
        out[done++] = (uint8_t)(three >> 16);
        if (in[i + 2] != '=')
            out[done++] = (uint8_t)(three >> 8);
        if (in[i + 3] != '=')
            out[done++] = (uint8_t)three;
    }
    return done;
}

/* The file behind a key: its last part with '_' before it. */
static void key_path(const struct place *place, const char *key, char out[static PATH_MAX])
{
    const char *slash = strrchr(key, '/');
    int head = slash ? (int)(slash - key) + 1 : 0;
    snprintf(out, PATH_MAX, "%s/%.*s_%s", place->path, head, key, key + head);
}

static bool get_file(struct access *access, const char *key, uint8_t *value, size_t *ret_size, char *text)
{
    char path[PATH_MAX];
    static const char head[] = "{\"Value\":\"";
    key_path(access->place, key, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd < 0)
        die("cannot open '%s': %s", path, strerror(errno));
    size_t size = 0;
    for (ssize_t n; (n = read(fd, text + size, VALUE_MAX * 2 - size)) != 0; size += (size_t)n)
        if (n < 0)
            die("cannot read '%s': %s", path, strerror(errno));
    close(fd);
    if (size < sizeof(head) + 2 || memcmp(text, head, sizeof(head) - 1) != 0)
        die("'%s' has no value", path);
    char *start = text + sizeof(head) - 1, *end = memchr(start, '"', size - sizeof(head) + 1);
    if (!end)
        die("'%s' has no value", path);
    *ret_size = base64_decode(value, start, (size_t)(end - start));
    return true;
}

/* mkdir -p of the folder a path lies in, below `from` bytes that are there. */
static void make_parents(char *path, size_t from)
{
    for (char *slash = strchr(path + from, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            die("cannot make '%s': %s", path, strerror(errno));
        *slash = '/';
    }
}

static void put_file(struct access *access, const char *key, const uint8_t *value, size_t size, char *text)
{
    char path[PATH_MAX], temp[PATH_MAX + 8];
    memcpy(text, "{\"Value\":\"", 10);
    size_t length = 10 + base64_encode(text + 10, value, size);
    memcpy(text + length, "\"}\n", 3);
    length += 3;
    key_path(access->place, key, path);
    make_parents(path, strlen(access->place->path) + 1);
    snprintf(temp, sizeof(temp), "%s.temp", path);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die("cannot make '%s': %s", temp, strerror(errno));
    for (size_t done = 0; done < length;) {
        ssize_t n = write(fd, text + done, length - done);
        if (n < 0)
            die("cannot write '%s': %s", temp, strerror(errno));
        done += (size_t)n;
    }
    if (close(fd) < 0 || rename(temp, path) < 0)
        die("cannot put '%s': %s", path, strerror(errno));
}

static bool get_row(struct access *access, const char *key, uint8_t *value, size_t *ret_size)
{
    unsigned long key_size = strlen(key), value_size = 0;
    MYSQL_BIND in = {.buffer_type = MYSQL_TYPE_STRING, .buffer_length = key_size, .length = &key_size};
    MYSQL_BIND out = {
        .buffer_type = MYSQL_TYPE_BLOB, .buffer = value, .buffer_length = VALUE_MAX, .length = &value_size};
    memcpy(&in.buffer, &key, sizeof(key));
    if (mysql_stmt_bind_param(access->get, &in) || mysql_stmt_execute(access->get) ||
        mysql_stmt_bind_result(access->get, &out))
        die("cannot get '%s': %s", key, mysql_stmt_error(access->get));
    int rc = mysql_stmt_fetch(access->get);
    if (rc != 0 && rc != MYSQL_NO_DATA)
        die("cannot get '%s': %s", key, mysql_stmt_error(access->get));
    mysql_stmt_free_result(access->get);
    *ret_size = value_size;
    return rc == 0;
}

static void put_row(struct access *access, const char *key, uint8_t *value, size_t size)
{
    unsigned long sizes[2] = {strlen(key), size};
    MYSQL_BIND in[2] = {
        {.buffer_type = MYSQL_TYPE_STRING, .buffer_length = sizes[0], .length = &sizes[0]},
        { .buffer_type = MYSQL_TYPE_BLOB,                 .buffer = value, .buffer_length = sizes[1], .length = &sizes[1]},
    };
    memcpy(&in[0].buffer, &key, sizeof(key));
    if (mysql_stmt_bind_param(access->put, in) || mysql_stmt_execute(access->put))
        die("cannot put '%s': %s", key, mysql_stmt_error(access->put));
}

/* Vault's three columns: parent_path, path, key. */
static void split_key(const char *key, char parent[static KEY_MAX], char path[static KEY_MAX], const char **ret_name)
{
    const char *slash = strrchr(key, '/');
    int size = slash ? (int)(slash - key) + 1 : 0;
    *ret_name = key + size;
    snprintf(path, KEY_MAX, "/%.*s", size, key);
    while (size > 1 && key[size - 2] != '/')
        size--;
    snprintf(parent, KEY_MAX, "%s%.*s", slash ? "/" : "", size > 0 ? size - 1 : 0, key);
}

static bool get_pg(struct access *access, const char *key, uint8_t *value, size_t *ret_size)
{
    char parent[KEY_MAX], path[KEY_MAX];
    const char *values[2] = {path};
    split_key(key, parent, path, &values[1]);
    PGresult *rows =
        pg_run(access->pg, "get", PQexecPrepared(access->pg, "get", 2, values, NULL, NULL, 1), PGRES_TUPLES_OK);
    bool there = PQntuples(rows) == 1;
    *ret_size = there ? (size_t)PQgetlength(rows, 0, 0) : 0;
    if (*ret_size > VALUE_MAX)
        die("'%s' is too large", key);
    if (there)
        memcpy(value, PQgetvalue(rows, 0, 0), *ret_size);
    PQclear(rows);
    return there;
}

static void put_pg(struct access *access, const char *key, const uint8_t *value, size_t size)
{
    char parent[KEY_MAX], path[KEY_MAX];
    const char *values[4] = {parent, path, NULL, (const char *)value};
    const int sizes[4] = {0, 0, 0, (int)size}, formats[4] = {0, 0, 0, 1};
    split_key(key, parent, path, &values[2]);
    PQclear(
        pg_run(access->pg, "put", PQexecPrepared(access->pg, "put", 4, values, sizes, formats, 0), PGRES_COMMAND_OK));
}

/* --- connections and workers --- */

static PGconn *pg_connect(const struct place *place)
{
    char port[16];
    snprintf(port, sizeof(port), "%u", place->port);
    const char *words[] = {"host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", NULL};
    const char *values[] = {
        place->host, port, place->user, place->password, place->database, *place->ca ? "verify-full" : "disable",
        place->ca,   NULL};
    PGconn *pg = PQconnectdbParams(words, values, 0);
    if (PQstatus(pg) != CONNECTION_OK)
        die("cannot connect to %s:%u: %s", place->host, place->port, PQerrorMessage(pg));
    return pg;
}

/* Vault's statements, prepared. */
static void open_pg(struct access *access, const struct place *place)
{
    char text[768];
    access->pg = pg_connect(place);
    snprintf(text, sizeof(text), "SELECT value FROM %s WHERE path = $1 AND key = $2", place->table);
    PQclear(pg_run(access->pg, "prepare", PQprepare(access->pg, "get", text, 0, NULL), PGRES_COMMAND_OK));
    snprintf(text, sizeof(text),
             "INSERT INTO %s VALUES($1, $2, $3, $4) ON CONFLICT (path, key) DO UPDATE SET (parent_path, path, key, "
             "value) = "
             "($1, $2, $3, $4)",
             place->table);
    PQclear(pg_run(access->pg, "prepare", PQprepare(access->pg, "put", text, 0, NULL), PGRES_COMMAND_OK));
    snprintf(text, sizeof(text),
             "SELECT key FROM %s WHERE path = $1 UNION ALL SELECT DISTINCT substring(substr(path, length($1)+1) from "
             "'^.*?/') FROM %s WHERE parent_path LIKE $1 || '%%'",
             place->table, place->table);
    PQclear(pg_run(access->pg, "prepare", PQprepare(access->pg, "list", text, 0, NULL), PGRES_COMMAND_OK));
}

static MYSQL_STMT *prepare(MYSQL *mysql, const char *text)
{
    MYSQL_STMT *stmt = mysql_stmt_init(mysql);
    if (!stmt || mysql_stmt_prepare(stmt, text, strlen(text)))
        die("cannot prepare a statement: %s", mysql_error(mysql));
    return stmt;
}

static void access_open(struct access *access, const struct place *place)
{
    char text[512];
    *access = (struct access){.place = place};
    if (place->is_consul)
        open_consul(access);
    if (place->is_pg)
        open_pg(access, place);
    if (!place->is_mysql)
        return;
    access->mysql = mysql_init(NULL);
    if (!access->mysql)
        die("out of memory");
    my_bool on = 1;
    if (*place->ca) {
        mysql_ssl_set(access->mysql, NULL, NULL, place->ca, NULL, NULL);
        mysql_optionsv(access->mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &on);
    }
    if (!mysql_real_connect(access->mysql, place->host, place->user, place->password, NULL, place->port, NULL, 0))
        die("cannot connect to %s:%u: %s", place->host, place->port, mysql_error(access->mysql));
    snprintf(text, sizeof(text), "SELECT vault_value FROM `%s`.`%s` WHERE vault_key = ?", place->database,
             place->table);
    access->get = prepare(access->mysql, text);
    snprintf(text, sizeof(text),
             "INSERT INTO `%s`.`%s` VALUES (?, ?) ON DUPLICATE KEY UPDATE vault_value=VALUES(vault_value)",
             place->database, place->table);
    access->put = prepare(access->mysql, text);
}

static void access_close(struct access *access)
{
    if (access->curl)
        curl_easy_cleanup(access->curl);
    curl_slist_free_all(access->headers);
    free(access->body);
    PQfinish(access->pg);
    if (!access->mysql)
        return;
    mysql_stmt_close(access->get);
    mysql_stmt_close(access->put);
    mysql_close(access->mysql);
}

/* Vault makes database and table on opening the backend. */
static void make_table(const struct place *place)
{
    char text[512];
    MYSQL *mysql = mysql_init(NULL);
    my_bool on = 1;
    if (*place->ca) {
        mysql_ssl_set(mysql, NULL, NULL, place->ca, NULL, NULL);
        mysql_optionsv(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &on);
    }
    if (!mysql_real_connect(mysql, place->host, place->user, place->password, NULL, place->port, NULL, 0))
        die("cannot connect to %s:%u: %s", place->host, place->port, mysql_error(mysql));
    snprintf(text, sizeof(text), "CREATE DATABASE IF NOT EXISTS `%s`", place->database);
    if (mysql_query(mysql, text))
        die("cannot make the database: %s", mysql_error(mysql));
    snprintf(text, sizeof(text),
             "CREATE TABLE IF NOT EXISTS `%s`.`%s` (vault_key varbinary(512), vault_value mediumblob, "
             "PRIMARY KEY (vault_key))",
             place->database, place->table);
    if (mysql_query(mysql, text))
        die("cannot make the table: %s", mysql_error(mysql));
    mysql_close(mysql);
}

/* The administrator makes the table by Vault's documentation. */
static void make_pg_table(const struct place *place)
{
    char text[768];
    PGconn *pg = pg_connect(place);
    snprintf(
        text, sizeof(text),
        "CREATE TABLE IF NOT EXISTS %s (parent_path TEXT COLLATE \"C\" NOT NULL, path TEXT COLLATE \"C\", key TEXT "
        "COLLATE \"C\", value BYTEA, PRIMARY KEY (path, key)); CREATE INDEX IF NOT EXISTS %s_idx ON %s "
        "(parent_path)",
        place->table, place->table, place->table);
    PQclear(pg_run(pg, "make the table", PQexec(pg, text), PGRES_COMMAND_OK));
    PQfinish(pg);
}

static char *next_key(void)
{
    char *key = NULL;
    pthread_mutex_lock(&queue.lock);
    while (!queue.count && !queue.ended)
        pthread_cond_wait(&queue.filled, &queue.lock);
    if (queue.count) {
        key = queue.keys[queue.head];
        queue.head = (queue.head + 1) % QUEUE;
        queue.count--;
        queue.copied++;
        pthread_cond_signal(&queue.taken);
    }
    pthread_mutex_unlock(&queue.lock);
    return key;
}

static void *work(void *unused)
{
    struct access from, to;
    uint8_t *value = get_memory(NULL, VALUE_MAX);
    char *text = get_memory(NULL, (size_t)VALUE_MAX * 2);
    (void)unused;
    access_open(&from, &source);
    access_open(&to, &destination);
    for (char *key; (key = next_key()); free(key)) {
        size_t size = 0;
        bool there = from.mysql  ? get_row(&from, key, value, &size)
                     : from.pg   ? get_pg(&from, key, value, &size)
                     : from.curl ? get_key(&from, key, value, &size)
                                 : get_file(&from, key, value, &size, text);
        if (!there)
            continue;
        if (to.mysql)
            put_row(&to, key, value, size);
        else if (to.curl)
            put_key(&to, key, value, size);
        else if (to.pg)
            put_pg(&to, key, value, size);
        else
            put_file(&to, key, value, size, text);
    }
    access_close(&from);
    access_close(&to);
    free(value);
    free(text);
    mysql_thread_end();
    return NULL;
}

/* --- command line --- */

static char *read_line(const char *path)
{
    char line[512] = "";
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof(line), file))
        die("cannot read '%s'", path);
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return strdup(line);
}

static void parse_place(char *text, struct place *place)
{
    char *parts[8] = {NULL};
    for (size_t i = 0; i < 8; i++)
        parts[i] = strsep(&text, ":");
    if (parts[1] && !parts[2] && strcmp(parts[0], "file") == 0) {
        place->path = parts[1];
        return;
    }
    if (parts[5] && !parts[6] && strcmp(parts[0], "consul") == 0) {
        *place = (struct place){.is_consul = true,
                                .host = parts[1],
                                .port = (unsigned)strtoul(parts[2], NULL, 10),
                                .password = read_line(parts[3]),
                                .ca = parts[4],
                                .path = parts[5]};
        return;
    }
    bool is_pg = strcmp(parts[0], "postgresql") == 0;
    if (!parts[7] || (!is_pg && strcmp(parts[0], "mysql") != 0))
        die("a place is file:DIR, {mysql|postgresql}:HOST:PORT:USER:PASSWORD_FILE:CA_FILE:DATABASE:TABLE or "
            "consul:HOST:PORT:TOKEN_FILE:CA_FILE:PATH");
    *place = (struct place){.is_mysql = !is_pg,
                            .is_pg = is_pg,
                            .host = parts[1],
                            .port = (unsigned)strtoul(parts[2], NULL, 10),
                            .user = parts[3],
                            .password = read_line(parts[4]),
                            .ca = parts[5],
                            .database = parts[6],
                            .table = parts[7]};
}

int main(int argc, char **argv)
{
    static pthread_t threads[PARALLEL_MAX];
    unsigned long parallel = 10;
    if (argc == 5 && strcmp(argv[3], "--parallel") == 0)
        parallel = strtoul(argv[4], NULL, 10);
    if ((argc != 3 && argc != 5) || parallel < 1 || parallel > PARALLEL_MAX)
        die("usage: keycopy SOURCE DESTINATION [--parallel P]");
    for (int i = 0; i < 64; i++)
        base64_value[(uint8_t)base64_digits[i]] = (uint8_t)i;
    parse_place(argv[1], &source);
    parse_place(argv[2], &destination);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) || mysql_library_init(0, NULL, NULL))
        die("cannot start the client library");
    if (destination.is_mysql)
        make_table(&destination);
    else if (destination.is_pg)
        make_pg_table(&destination);
    else if (!destination.is_consul && mkdir(destination.path, 0700) < 0 && errno != EEXIST)
        die("cannot make '%s': %s", destination.path, strerror(errno));
    for (unsigned long i = 0; i < parallel; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            die("cannot start a thread");
    struct access access;
    access_open(&access, &source);
    walk(&access);
    access_close(&access);
    pthread_mutex_lock(&queue.lock);
    queue.ended = true;
    pthread_cond_broadcast(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
    for (unsigned long i = 0; i < parallel; i++)
        pthread_join(threads[i], NULL);
    printf("%llu keys\n", (unsigned long long)queue.copied);
    mysql_library_end();
    return 0;
}
