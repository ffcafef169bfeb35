/* Tokens: what we make is accepted; every forgery we know of is not. */
#include "tests/lib/test.h"

#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/auth.h"
#include "api/idempotency.h"
#include "api/jwt.h"
#include "broker/base/clock.h"
#include "broker/base/hash.h"

#define NOW_S 1795225339

static struct jwt_keys *ours;
static struct buf our_pem, their_pem;
static char our_kid[40];
static struct jwt_claims claims;

static int set_up(void **state)
{
    struct buf jwks = {0};
    (void)state;
    hash_start();
    jwt_keys_make_pem(&our_pem);
    jwt_keys_make_pem(&their_pem);
    ours = jwt_keys_create(buf_str(&our_pem), "undercut");
    assert_non_null(ours);
    jwt_keys_write(ours, &jwks);
    json_t *set = json_loadb(jwks.at, jwks.len, 0, NULL);
    struct str kid = json_str(json_array_get(json_object_get(set, "keys"), 0), "kid");
    str_format(our_kid, sizeof(our_kid), "%.*s", STR_ARG(kid));
    json_decref(set);
    buf_finish(&jwks);
    claims = (struct jwt_claims){
        .account_id = account_id_new(),
        .key_id = api_key_id_new(),
        .scopes = 1u << SCOPE_WORKLOADS_READ | 1u << SCOPE_MONEY_READ,
        .issued_at_s = NOW_S,
        .expires_at_s = NOW_S + 600,
    };
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    jwt_keys_destroy(ours);
    buf_finish(&our_pem);
    buf_finish(&their_pem);
    return 0;
}

static void what_we_make_is_accepted(void **state)
{
    (void)state;
    struct buf token = {0};
    struct jwt_claims read;
    const char *why = NULL;
    jwt_token_make(ours, &claims, &token);
    assert_int_equal(jwt_token_check(ours, buf_str(&token), NOW_S + 1, &read, &why), ERR_OK);
    assert_int_equal(read.scopes, claims.scopes);
    assert_true(uuid_equal(read.account_id.u, claims.account_id.u));
    assert_true(uuid_equal(read.key_id.u, claims.key_id.u));
    assert_false(read.is_test);
    assert_int_equal(jwt_token_check(ours, buf_str(&token), NOW_S + 600, &read, &why),
                     ERR_TOKEN_EXPIRED);
    assert_int_equal(jwt_token_check(ours, buf_str(&token), NOW_S - JWT_SKEW_S, &read, &why),
                     ERR_OK);
    assert_int_equal(jwt_token_check(ours, buf_str(&token), NOW_S - JWT_SKEW_S - 1, &read, &why),
                     ERR_UNAUTHENTICATED);
    buf_finish(&token);
}

/* ---- forging: any header, any claims, signed in any way */

static void add_part(struct buf *token, const void *bytes, size_t len)
{
    char *text = malloc(4 * ((len + 2) / 3) + 1);
    size_t size = base64url_encode(bytes, len, text);
    if (token->len > 0)
        buf_add_c(token, ".");
    buf_add(token, text, size);
    free(text);
}

enum signing { BY_US = 1, BY_THEM, BY_HMAC_OF_PEM, BY_NOBODY, BY_ZEROS, BY_OUR_DER };

/* libjwt is made to sign with our key; its signature is over its own header and claims, so for the
 * signature over ours OpenSSL signs directly. */
static void sign(struct buf *token, const char *pem, bool is_der)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t der[80], raw[64];
    size_t len = sizeof(der);
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, der, &len, (uint8_t *)token->at, token->len), 1);
    const uint8_t *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32);
    add_part(token, is_der ? der : raw, is_der ? len : sizeof(raw));
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    BIO_free(bio);
}

static void sign_hmac(struct buf *token)
{
    uint8_t mac[32];
    char *text = NULL;
    unsigned len = 0;
    BIO *in = BIO_new_mem_buf(our_pem.at, (int)our_pem.len), *out = BIO_new(BIO_s_mem());
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    PEM_write_bio_PUBKEY(out, key);
    long size = BIO_get_mem_data(out, &text);
    HMAC(EVP_sha256(), text, (int)size, (uint8_t *)token->at, token->len, mac, &len);
    add_part(token, mac, sizeof(mac));
    EVP_PKEY_free(key);
    BIO_free(in);
    BIO_free(out);
}

/* %K stands for our kid, %A for the account, %Y for the key id. */
static void fill_in(const char *text, struct buf *to)
{
    char id[ID_TEXT_SIZE];
    for (; *text != '\0'; text++) {
        if (*text != '%')
            buf_add(to, text, 1);
        else if (*++text == 'K')
            buf_add_c(to, our_kid);
        else
            buf_add_c(to, *text == 'A' ? account_id_text(claims.account_id, id)
                                       : api_key_id_text(claims.key_id, id));
    }
}

static void forge(const char *header, const char *body, enum signing signing, struct buf *token)
{
    static const uint8_t zeros[64];
    struct buf text = {0};
    fill_in(header, &text);
    add_part(token, text.at, text.len);
    text.len = 0;
    fill_in(body, &text);
    add_part(token, text.at, text.len);
    buf_finish(&text);
    buf_add(&our_pem, "", 1), our_pem.len--;
    buf_add(&their_pem, "", 1), their_pem.len--;
    if (signing == BY_US || signing == BY_OUR_DER)
        sign(token, our_pem.at, signing == BY_OUR_DER);
    else if (signing == BY_THEM)
        sign(token, their_pem.at, false);
    else if (signing == BY_HMAC_OF_PEM)
        sign_hmac(token);
    else if (signing == BY_ZEROS)
        add_part(token, zeros, sizeof(zeros));
    else
        buf_add_c(token, ".");
}

#define HEAD            "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%K\"}"
#define HEAD_WITH(more) "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%K\"," more "}"

#define WHO  "\"iss\":\"undercut\",\"aud\":\"undercut-api\",\"sub\":\"%A\",\"key\":\"%Y\","
#define WHAT "\"scope\":\"workloads:read\",\"mode\":\"live\","
#define WHEN "\"iat\":1795225339,\"nbf\":1795225339,\"exp\":1795225939"
#define BODY "{" WHO WHAT WHEN "}"

static const struct forgery {
    const char *what, *header, *body;
    enum signing signing;
} FORGERIES[] = {
    {"signed by another key", HEAD, BODY, BY_THEM},
    {"no signature", HEAD, BODY, BY_NOBODY},
    {"r = s = 0", HEAD, BODY, BY_ZEROS},
    {"signature in DER", HEAD, BODY, BY_OUR_DER},
    {"HS256 with our public key as secret", "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"%K\"}",
     BODY, BY_HMAC_OF_PEM},
    {"HS256 said, ES256 signed", "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_US},
    {"ES256 said, HMAC signed", HEAD, BODY, BY_HMAC_OF_PEM},
    {"alg none", "{\"alg\":\"none\",\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_NOBODY},
    {"alg None", "{\"alg\":\"None\",\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_NOBODY},
    {"alg in lower case", "{\"alg\":\"es256\",\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_US},
    {"alg ES384", "{\"alg\":\"ES384\",\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_US},
    {"alg RS256", "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_US},
    {"alg missing", "{\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_US},
    {"alg is a number", "{\"alg\":256,\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY, BY_US},
    {"alg twice", "{\"alg\":\"ES256\",\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%K\"}", BODY,
     BY_US},
    {"kid missing", "{\"alg\":\"ES256\",\"typ\":\"JWT\"}", BODY, BY_US},
    {"kid empty", "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"\"}", BODY, BY_US},
    {"kid unknown", "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"other\"}", BODY, BY_US},
    {"kid with a path", "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"../../%K\"}", BODY, BY_US},
    {"kid with SQL", "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%K' or '1'='1\"}", BODY, BY_US},
    {"kid with a blank", "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%K \"}", BODY, BY_US},
    {"kid is a list", "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":[\"%K\"]}", BODY, BY_US},
    {"kid over 32 characters",
     "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%K0123456789012345678901234567890123456789\"}",
     BODY, BY_US},
    {"typ missing", "{\"alg\":\"ES256\",\"kid\":\"%K\"}", BODY, BY_US},
    {"typ of another kind", "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%K\"}", BODY, BY_US},
    {"crit", HEAD_WITH("\"crit\":[\"exp\"]"), BODY, BY_US},
    {"jku", HEAD_WITH("\"jku\":\"https://evil.example/keys\""), BODY, BY_US},
    {"x5u", HEAD_WITH("\"x5u\":\"https://evil.example/cert\""), BODY, BY_US},
    {"jwk", HEAD_WITH("\"jwk\":{\"kty\":\"EC\"}"), BODY, BY_US},
    {"an unknown header", HEAD_WITH("\"b64\":false"), BODY, BY_US},
    {"header is a list", "[\"ES256\"]", BODY, BY_US},
    {"header is not JSON", "ES256", BODY, BY_US},
    {"claims are a list", HEAD, "[1]", BY_US},
    {"claims are empty", HEAD, "{}", BY_US},
    {"claims are not JSON", HEAD, "exp", BY_US},
    {"exp twice", HEAD, "{" WHO WHAT WHEN ",\"exp\":1795225940}", BY_US},
    {"sub twice", HEAD, "{" WHO WHAT WHEN ",\"sub\":\"%A\"}", BY_US},
    {"exp missing", HEAD, "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225339}", BY_US},
    {"exp is text", HEAD,
     "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225339,\"exp\":\"1795225939\"}", BY_US},
    {"exp is a fraction", HEAD,
     "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225339,\"exp\":1795225939.5}", BY_US},
    {"exp is 1e308", HEAD, "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225339,\"exp\":1e308}",
     BY_US},
    {"exp is beyond int64", HEAD,
     "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225339,\"exp\":99999999999999999999}", BY_US},
    {"exp is negative", HEAD, "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225339,\"exp\":-1}",
     BY_US},
    {"lives longer than ten minutes", HEAD,
     "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225339,\"exp\":1795225940}", BY_US},
    {"nbf missing", HEAD, "{" WHO WHAT "\"iat\":1795225339,\"exp\":1795225939}", BY_US},
    {"nbf in the future", HEAD,
     "{" WHO WHAT "\"iat\":1795225339,\"nbf\":1795225400,\"exp\":1795225939}", BY_US},
    {"iat is text", HEAD,
     "{" WHO WHAT "\"iat\":\"1795225339\",\"nbf\":1795225339,\"exp\":1795225939}", BY_US},
    {"another issuer", HEAD,
     "{\"iss\":\"evil\",\"aud\":\"undercut-api\",\"sub\":\"%A\",\"key\":\"%Y\"," WHAT WHEN "}",
     BY_US},
    {"another audience", HEAD,
     "{\"iss\":\"undercut\",\"aud\":\"other\",\"sub\":\"%A\",\"key\":\"%Y\"," WHAT WHEN "}", BY_US},
    {"audience is a list", HEAD,
     "{\"iss\":\"undercut\",\"aud\":[\"undercut-api\"],\"sub\":\"%A\",\"key\":\"%Y\"," WHAT WHEN
     "}",
     BY_US},
    {"sub missing", HEAD,
     "{\"iss\":\"undercut\",\"aud\":\"undercut-api\",\"key\":\"%Y\"," WHAT WHEN "}", BY_US},
    {"sub is a node", HEAD,
     "{\"iss\":\"undercut\",\"aud\":\"undercut-api\",\"sub\":\"node_01jd3k0000000000000000000a\","
     "\"key\":\"%Y\"," WHAT WHEN "}",
     BY_US},
    {"scope unknown", HEAD, "{" WHO "\"scope\":\"root\",\"mode\":\"live\"," WHEN "}", BY_US},
    {"scope is a list", HEAD, "{" WHO "\"scope\":[\"admin\"],\"mode\":\"live\"," WHEN "}", BY_US},
    {"mode missing", HEAD, "{" WHO "\"scope\":\"workloads:read\"," WHEN "}", BY_US},
};

static void the_forger_can_make_good_tokens_too(void **state)
{
    (void)state;
    struct buf token = {0};
    struct jwt_claims read;
    const char *why = NULL;
    forge(HEAD, BODY, BY_US, &token); /* so that the table below tests what it says */
    assert_int_equal(jwt_token_check(ours, buf_str(&token), NOW_S + 1, &read, &why), ERR_OK);
    buf_finish(&token);
}

static void forged_tokens_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(FORGERIES); i++) {
        const struct forgery *f = &FORGERIES[i];
        struct buf token = {0};
        struct jwt_claims read;
        const char *why = NULL;
        forge(f->header, f->body, f->signing, &token);
        if (jwt_token_check(ours, buf_str(&token), NOW_S + 1, &read, &why) != ERR_UNAUTHENTICATED)
            fail_msg("accepted: %s", f->what);
        assert_non_null(why);
        buf_finish(&token);
    }
}

static void broken_shapes_are_refused(void **state)
{
    (void)state;
    struct buf good = {0}, long_one = {0};
    struct jwt_claims read;
    const char *why = NULL;
    forge(HEAD, BODY, BY_US, &good);
    static const char *const shapes[] = {"",        ".",    "..",   "...", "a.b",
                                         "a.b.c.d", "a..c", ".b.c", "a.b."};
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++)
        assert_int_equal(jwt_token_check(ours, str_of(shapes[i]), NOW_S, &read, &why),
                         ERR_UNAUTHENTICATED);
    for (size_t i = 0; i < 4; i++) { /* something behind, something in front */
        static const char *const ends[] = {".", "=", " ", "A"};
        long_one.len = 0;
        buf_add_str(&long_one, buf_str(&good));
        buf_add_c(&long_one, ends[i]);
        assert_int_equal(jwt_token_check(ours, buf_str(&long_one), NOW_S, &read, &why),
                         ERR_UNAUTHENTICATED);
    }
    long_one.len = 0;
    for (int i = 0; i < JWT_SIZE_MAX; i++)
        buf_add_c(&long_one, "A");
    buf_add_c(&long_one, ".A.A");
    assert_int_equal(jwt_token_check(ours, buf_str(&long_one), NOW_S, &read, &why),
                     ERR_UNAUTHENTICATED);
    buf_finish(&good);
    buf_finish(&long_one);
}

static void every_changed_character_is_noticed(void **state)
{
    (void)state;
    struct buf token = {0};
    struct jwt_claims read;
    const char *why = NULL;
    forge(HEAD, BODY, BY_US, &token);
    for (size_t i = 0; i + 1 < token.len; i += 7) { /* the last one holds unused bits */
        char was = token.at[i];
        token.at[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(jwt_token_check(ours, buf_str(&token), NOW_S, &read, &why),
                         ERR_UNAUTHENTICATED);
        token.at[i] = was;
    }
    buf_finish(&token);
}

static void keys_of_other_curves_are_not_loaded(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-384");
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    long len = BIO_get_mem_data(bio, &text);
    assert_null(jwt_keys_create((struct str){.at = text, .len = (size_t)len}, "undercut"));
    assert_null(jwt_keys_create(STR("nonsense"), "undercut"));
    assert_null(jwt_keys_create(STR(""), "undercut"));
    BIO_free(bio);
    EVP_PKEY_free(key);
}

static void a_second_key_still_verifies_after_rotation(void **state)
{
    (void)state;
    struct buf both = {0}, token = {0};
    struct jwt_claims read;
    const char *why = NULL;
    buf_add_str(&both, buf_str(&their_pem));
    buf_add_str(&both, buf_str(&our_pem));
    struct jwt_keys *rotated = jwt_keys_create(buf_str(&both), "undercut");
    forge(HEAD, BODY, BY_US, &token);
    assert_int_equal(jwt_token_check(rotated, buf_str(&token), NOW_S, &read, &why), ERR_OK);
    jwt_keys_destroy(rotated);
    buf_finish(&both);
    buf_finish(&token);
}

/* ---- the header and the memory */

static enum auth_answer check(struct auth *auth, const char *header, struct auth_result *ret)
{
    return auth_check(auth, str_of(header), ret);
}

static void the_header_is_read(void **state)
{
    (void)state;
    struct auth *auth = auth_create(ours);
    struct auth_result result;
    static const char *const refused[] = {NULL,      "",        "Bearer",      "Basic abc",
                                          "Bearer ", "Bearerx", "uc_live_abc", "Bearer a b c"};
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        assert_int_equal(check(auth, refused[i], &result), AUTH_IS_REFUSED);
        assert_int_equal(result.err, ERR_UNAUTHENTICATED);
    }
    assert_int_equal(check(auth, "Bearer uc_live_abc", &result), AUTH_ASK_DATABASE);
    assert_int_equal(check(auth, "bearer  uc_test_abc", &result), AUTH_ASK_DATABASE);
    auth_destroy(auth);
}

static void a_key_is_believed_for_ten_seconds(void **state)
{
    (void)state;
    struct auth *auth = auth_create(ours);
    struct auth_result result;
    struct principal principal = {.kind = PRINCIPAL_KEY, .account_id = account_id_new()};
    clock_fake(1000000, 1000 * 5000);
    assert_int_equal(check(auth, "Bearer uc_live_abc", &result), AUTH_ASK_DATABASE);
    struct sha256 hash = result.sha256;
    auth_remember(auth, &hash, &principal);
    assert_int_equal(check(auth, "Bearer uc_live_abc", &result), AUTH_IS_KNOWN);
    assert_true(uuid_equal(result.principal.account_id.u, principal.account_id.u));
    clock_fake(1000000, 1000 * (5000 + AUTH_CACHE_MS));
    assert_int_equal(check(auth, "Bearer uc_live_abc", &result), AUTH_ASK_DATABASE);
    auth_remember(auth, &hash, &principal);
    auth_forget(auth, hash);
    assert_int_equal(check(auth, "Bearer uc_live_abc", &result), AUTH_ASK_DATABASE);
    principal.expires_at_us = 2000000; /* a key's own end comes first */
    auth_remember(auth, &hash, &principal);
    assert_int_equal(check(auth, "Bearer uc_live_abc", &result), AUTH_IS_KNOWN);
    clock_fake(2000000, 1000 * (5000 + AUTH_CACHE_MS));
    assert_int_equal(check(auth, "Bearer uc_live_abc", &result), AUTH_ASK_DATABASE);
    clock_fake(-1, -1);
    auth_destroy(auth);
}

static void a_token_is_believed_until_it_expires(void **state)
{
    (void)state;
    struct auth *auth = auth_create(ours);
    struct auth_result result;
    struct buf header = {0};
    buf_add_c(&header, "Bearer ");
    jwt_token_make(ours, &claims, &header);
    clock_fake(NOW_S * INT64_C(1000000), 1);
    assert_int_equal(auth_check(auth, buf_str(&header), &result), AUTH_IS_KNOWN);
    assert_int_equal(result.principal.kind, PRINCIPAL_TOKEN);
    assert_int_equal(auth_check(auth, buf_str(&header), &result), AUTH_IS_KNOWN);
    clock_fake((NOW_S + 600) * INT64_C(1000000), 1);
    assert_int_equal(auth_check(auth, buf_str(&header), &result), AUTH_IS_REFUSED);
    assert_int_equal(result.err, ERR_TOKEN_EXPIRED);
    clock_fake(-1, -1);
    buf_finish(&header);
    auth_destroy(auth);
}

static void scopes_go_there_and_back(void **state)
{
    (void)state;
    uint32_t scopes = 0;
    struct buf text = {0};
    assert_true(scopes_parse(STR("audit,workloads:read,admin"), ',', &scopes));
    scopes_write(scopes, ',', &text);
    assert_true(str_equal_c(buf_str(&text), "workloads:read,admin,audit"));
    assert_false(scopes_parse(STR("workloads:read,"), ' ', &scopes));
    assert_false(scopes_parse(STR("everything"), ',', &scopes));
    assert_true(scopes_parse(STR(""), ',', &scopes));
    assert_int_equal(scopes, 0);
    buf_finish(&text);
}

static void idempotency_keys_come_bare_or_quoted(void **state)
{
    (void)state;
    struct str key;
    assert_true(idempotency_key_parse(STR("abc-1"), &key) && str_equal_c(key, "abc-1"));
    assert_true(idempotency_key_parse(STR(" \"abc 1\" "), &key) && str_equal_c(key, "abc 1"));
    static const char *const refused[] = {"", "\"\"", "a\"b", "tab\there", "\x7f", "caf\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++)
        assert_false(idempotency_key_parse(str_of(refused[i]), &key));
    char text[IDEMPOTENCY_KEY_MAX + 2];
    memset(text, 'k', sizeof(text));
    assert_true(idempotency_key_parse((struct str){text, IDEMPOTENCY_KEY_MAX}, &key));
    assert_false(idempotency_key_parse((struct str){text, IDEMPOTENCY_KEY_MAX + 1}, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_we_make_is_accepted),
        cmocka_unit_test(the_forger_can_make_good_tokens_too),
        cmocka_unit_test(forged_tokens_are_refused),
        cmocka_unit_test(broken_shapes_are_refused),
        cmocka_unit_test(every_changed_character_is_noticed),
        cmocka_unit_test(keys_of_other_curves_are_not_loaded),
        cmocka_unit_test(a_second_key_still_verifies_after_rotation),
        cmocka_unit_test(the_header_is_read),
        cmocka_unit_test(a_key_is_believed_for_ten_seconds),
        cmocka_unit_test(a_token_is_believed_until_it_expires),
        cmocka_unit_test(scopes_go_there_and_back),
        cmocka_unit_test(idempotency_keys_come_bare_or_quoted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
