#include "api/canonical.h"

#include "gen/api/operations.h"

static const char *const set_aside[] = {
    "name",    "reserve_uusd_per_hour", "reserve_usd_per_hour",
    "labels",  "budget_uusd",           "max_duration_s",
    "secrets", "registry_auth",
};

static json_t *canonical(const json_t *value, const struct schema *schema);

static bool is_default(const struct schema_field *field, const json_t *value)
{
    char number[32];
    const char *text = json_string_value(value);
    if ((json_is_array(value) && json_array_size(value) == 0) ||
        (json_is_object(value) && json_object_size(value) == 0))
        return true;
    if (field->default_text == NULL)
        return false;
    if (json_is_boolean(value))
        text = json_is_true(value) ? "true" : "false";
    if (json_is_integer(value)) {
        must(str_format(number, sizeof(number), "%lld", (long long)json_integer_value(value)));
        text = number;
    }
    return str_equal_c(str_of(text), field->default_text);
}

static json_t *canonical_object(const json_t *value, const struct schema *schema)
{
    json_t *object = json_object();
    for (size_t i = 0; i < schema->fields_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        const json_t *member = json_object_get(value, field->name);
        json_t *kept = member != NULL ? canonical(member, field->schema) : NULL;
        if (kept != NULL && !is_default(field, kept))
            json_object_set(object, field->name, kept);
        json_decref(kept);
    }
    return object;
}

static json_t *canonical_array(const json_t *value, const struct schema *schema)
{
    json_t *array = json_array();
    size_t i;
    const json_t *item;
    json_array_foreach (value, i, item) {
        json_array_append_new(array, canonical(item, schema->item));
    }
    return array;
}

static json_t *canonical(const json_t *value, const struct schema *schema)
{
    if (schema->kind == SCHEMA_OBJECT && json_is_object(value))
        return canonical_object(value, schema);
    if (schema->kind == SCHEMA_ARRAY && schema->item != NULL && json_is_array(value))
        return canonical_array(value, schema);
    return json_deep_copy(value);
}

static json_t *work_of(const json_t *manifest)
{
    json_t *work = canonical(manifest, &manifest_schema);
    for (size_t i = 0; i < ARRAY_COUNT(set_aside); i++)
        json_object_del(work, set_aside[i]);
    /* min_replicas that says what its absence means: all of them. */
    if (json_i64(work, "min_replicas", -1) == json_i64(work, "replicas", 1))
        json_object_del(work, "min_replicas");
    return work;
}

bool manifest_is_same_work(const json_t *left, const json_t *right)
{
    json_t *left_work = work_of(left), *right_work = work_of(right);
    bool is_same = json_equal(left_work, right_work);
    json_decref(left_work);
    json_decref(right_work);
    return is_same;
}
