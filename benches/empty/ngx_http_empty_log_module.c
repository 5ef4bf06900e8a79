/* The least that a module can cost: a handler in the log phase that returns. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

static ngx_int_t ngx_http_empty_log_init(ngx_conf_t *cf);

static ngx_http_module_t ngx_http_empty_log_module_ctx = {
    .postconfiguration = ngx_http_empty_log_init,
};

ngx_module_t ngx_http_empty_log_module = {
    NGX_MODULE_V1,
    &ngx_http_empty_log_module_ctx, NULL, NGX_HTTP_MODULE,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};

ngx_module_t *ngx_modules[] = { &ngx_http_empty_log_module, NULL };
char *ngx_module_names[] = { "ngx_http_empty_log_module", NULL };
char *ngx_module_order[] = { NULL };

static ngx_int_t
ngx_http_empty_log_handler(ngx_http_request_t *r)
{
    return NGX_OK;
}

static ngx_int_t
ngx_http_empty_log_init(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);

    if (h == NULL) {
        return NGX_ERROR;
    }
    *h = ngx_http_empty_log_handler;
    return NGX_OK;
}
